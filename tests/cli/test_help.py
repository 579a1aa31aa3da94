"""Help and manual pages: every command has both, with an example and every word explained."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import Command, found
from tests.cli.test_other_commands import commands


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_help_has_an_example_and_explains_every_word_in_capitals(
    words: tuple[str, ...], uploader: Command
) -> None:
    text = uploader(*words, "-h").out
    assert re.search(rf"^  Example: uploader {' '.join(words)}", text, re.MULTILINE)
    assert not re.search(r"<\w+>|<list|\[\[|\{\w", text)
    for param in found(words).params:
        assert param.help, param.name
        if param.param_type_name == "option" and not param.is_flag and param.metavar:
            word = param.metavar.partition("|")[0]
            assert re.search(rf"\b{word}\b", param.help), param.name
            assert word == "N" or len(word) > 1, param.name


@pytest.mark.parametrize("words", [("help", "config", "show"), ("config", "show", "-h")])
def test_help_is_a_command_too(words: tuple[str, ...], uploader: Command) -> None:
    answer = uploader(*words)
    assert answer.code == 0
    assert answer.out.startswith("Usage: uploader config show [OPTIONS]")


def test_help_for_what_is_not_a_command(uploader: Command) -> None:
    assert uploader("help", "nonsense").code == 2
    assert "Commands:" in uploader("help").out


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_a_manual_page_says_what_the_help_says(words: tuple[str, ...], uploader: Command) -> None:
    answer = uploader("man", *words)
    assert answer.code == 0
    title = "-".join(("uploader", *words)).upper().replace("-", "\\-")
    assert answer.out.startswith(f'.TH "{title}" 1 ')
    for param in found(words).params:
        for name in param.opts if param.param_type_name == "option" else ():
            assert name.replace("-", "\\-") in answer.out
    assert ".SH EXAMPLE\nuploader" in answer.out


def test_a_manual_page_is_not_written_through_a_link(uploader: Command, home: Path) -> None:
    (home / "man1").mkdir()
    (home / "own").write_text("kept")
    page = home / "man1" / "uploader.1"
    page.symlink_to(home / "own")
    assert uploader("man", "--write", home / "man1").code == 0
    assert (home / "own").read_text() == "kept"
    assert page.read_text().startswith(".TH")
    assert not page.is_symlink()


def test_all_manual_pages_are_written_and_groff_has_nothing_to_say(
    uploader: Command, home: Path
) -> None:
    answer = uploader("man", "--write", home / "man1")
    paths = answer.out.splitlines()
    assert {Path(path).name for path in paths} == {
        "-".join(("uploader", *words)) + ".1" for words in commands()
    }
    if groff := shutil.which("groff"):
        words = [groff, "-man", "-Tascii", "-ww", "-P-c", *paths]
        shown = subprocess.run(words, capture_output=True, text=True, check=True)
        assert shown.stderr == ""
        assert "uploader enqueue [OPTIONS] PATH..." in re.sub(".\b", "", shown.stdout)
    assert uploader("man", "nonsense").code == 2
    assert uploader("man", "--write", home / "man1" / "uploader.1").code == 2
