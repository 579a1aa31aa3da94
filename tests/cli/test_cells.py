"""Tables and sentences line up for names in every script."""

from __future__ import annotations

import subprocess
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from uploader.cli.cells import cells, shorten, wrapped
from uploader.cli.terminal import out_table
from uploader.core.text import shown

ACCENTED = unicodedata.normalize("NFD", "é")
NAMES = (
    "model-00001-of-00030.safetensors",
    "模型-权重-第一部分.safetensors",
    "モデル/重み.safetensors",
    unicodedata.normalize("NFD", "한글모델/가중치.safetensors"),
    unicodedata.normalize("NFD", "mödèle-à-tête-légère.safetensors"),
    "\uff46\uff55\uff4c\uff4c\u3000\uff57\uff49\uff44\uff54\uff48",
    "ﾊﾝｶｸ-model",
    "नमूना.bin",
    "𠀀𠀁",
    "🚀-rocket",
    "\u2764\ufe0f-heart-1\ufe0f\u20e3",
    "\U0001f1e9\U0001f1ea",
    "\u0639\u0631\u0628\u0649",
)
texts = st.one_of(
    st.sampled_from(NAMES), st.text(alphabet="ab é模\uff46\u0301\u20dd한\u1112\u1161\u11ab")
)


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("न")])
def test_a_name_takes_the_columns_that_rich_gives_it(name: str) -> None:
    assert cells(shown(name)) == cell_len(shown(name))


@given(name=texts, columns=st.integers(min_value=1, max_value=30))
def test_a_shortened_name_fits_and_is_cut_only_if_it_must(name: str, columns: int) -> None:
    short = shorten(name, columns)
    assert cells(short) <= columns
    assert (short == name) == (cells(name) <= columns)
    assert cells(short) >= min(columns - 2, cells(name))  # no more is cut than two wide halves


def test_no_character_is_parted_from_its_accents() -> None:
    assert shorten(ACCENTED * 9, 5) == f"{ACCENTED * 2}…{ACCENTED * 2}"
    assert shorten("模" * 9, 5) == "模…模"
    assert shorten("模" * 9, 4) == "模…"


@pytest.mark.parametrize("columns", [50, 80])
def test_every_row_has_its_columns_under_the_headings(
    columns: int, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [(str(number), name, "x" * number, "end") for number, name in enumerate(NAMES, start=1)]
    out_table(("ID", "NAME", "XS", "LAST"), rows, columns)
    heading, *lines = capsys.readouterr().out.splitlines()
    starts = {cell_len(line[: line.rindex("end")]) for line in lines if "न" not in line}
    assert starts == {heading.index("LAST")}
    assert max(map(cell_len, lines)) <= columns


@given(text=texts, lead=st.sampled_from(["", "hint: ", "提示: "]))
def test_a_wrapped_sentence_fits_and_keeps_its_words(text: str, lead: str) -> None:
    lines = wrapped(text, 20, lead)
    assert all(line.startswith((lead, " " * cells(lead))) for line in lines)
    assert " ".join(lines).split() == (lead + text).split()
    assert [line for line in lines if cells(line) > 20 and " " in line[len(lead) :].strip()] == []


def test_a_name_that_is_too_long_for_its_line_is_not_broken() -> None:
    lines = wrapped("the file a-very-long-name-of-a-file.bin is not there", 20, "error: ")
    assert lines == [
        "error: the file",
        "       a-very-long-name-of-a-file.bin",
        "       is not there",
    ]


def test_a_number_stays_with_what_it_counts() -> None:
    assert wrapped("of these 12.5 GiB are sent", 15) == ["of these", "12.5 GiB are", "sent"]


def test_nothing_to_wrap_is_one_line() -> None:
    assert wrapped("", 20, "name  ") == ["name  "]


def test_plain_output_does_not_import_rich() -> None:
    program = "import sys, uploader.cli.terminal, uploader.cli.wait; print('rich' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout.strip() == b"False"
