"""The picture in the README is what a terminal showed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import picture
from tests.picture import Screen


def test_a_line_that_is_drawn_again_is_shown_once() -> None:
    screen = Screen()
    screen.write("$ upload\nfirst\r\x1b[2Ksecond\n")
    screen.write("\r\x1b[1A\x1b[2Kthird\nlast")
    assert screen.text.plain.split("\n") == ["$ upload", "third", "last"]


def test_a_screen_keeps_colours() -> None:
    screen = Screen()
    screen.write("\x1b[1mbold\x1b[0m")
    assert [(span.start, span.end) for span in screen.text.spans if "bold" in str(span.style)] == [
        (0, 4)
    ]


def test_a_drawing_needs_no_font_and_no_address() -> None:
    drawn = picture.draw(Screen().text)
    assert drawn.count("http") == drawn.count("http://www.w3.org/") == 1


@pytest.mark.long
@pytest.mark.timed
def test_an_upload_that_was_killed_and_goes_on_is_drawn_from_a_real_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture, "PICTURE", tmp_path / "upload.svg")
    picture.main()
    text = (tmp_path / "upload.svg").read_text().replace("&#160;", " ")
    told = ("uploader upload my-model", "confirmed", "Killed", "READY", "the server has")
    places = [text.index(words) for words in told]
    assert places == sorted(places)
