"""What a command prints: results on stdout, the rest on stderr, control characters escaped.

A table on a terminal, tab-separated columns under a line of their names when piped. Only a terminal
gets colours, and only without NO_COLOR.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TextIO

from uploader.cli.cells import cells, padded, shorten, wrapped
from uploader.cli.colour import paint, paint_lead
from uploader.cli.flags import hint_of, spelled, spelled_document
from uploader.core.errors import UploaderError, UsageError
from uploader.core.redact import redact
from uploader.core.text import shown

_GAP = "  "
#: A shortened cell keeps at least this many columns of its text.
_MIN_CELL_WIDTH = 10


class PipeClosed(Exception):
    """The reader of our output has gone, as `head` does: not an error."""


def out(*columns: str) -> None:
    """Print one line of a result, with a tab between its columns."""
    _write(sys.stdout, "\t".join(shown(column) for column in columns))


def out_plain(text: str) -> None:
    """Print a text of our own that has several lines."""
    _write(sys.stdout, text)


def out_json(document: Mapping[str, Any], *, indent: int | None = 2) -> None:
    """Print one JSON document, in ASCII, so that nothing in it can control a terminal."""
    text = json.dumps(spelled_document(document), indent=indent)
    _write(sys.stdout, text.replace("\x7f", "\\u007f"))


def out_json_stream(
    document: Mapping[str, Any], name: str, items: Iterable[Mapping[str, Any]]
) -> None:
    """As `out_json`, with ``items`` as the list ``name`` of the document, each printed as it comes.

    So a list of any length needs the memory of one item.
    """
    whole = json.dumps(spelled_document({**document, name: []}), indent=2)
    before, _, after = whole.partition(f'"{name}": []')
    gap = f'{before}"{name}": ['
    for item in items:
        text = json.dumps(spelled_document(item), indent=2).replace("\x7f", "\\u007f")
        _write(sys.stdout, gap + "\n" + textwrap.indent(text, "    "), end="")
        gap = ","
    closing = "\n  ]" if gap == "," else f"{gap}]"
    _write(sys.stdout, closing + after)


def print_note(line: str) -> None:
    """Print one line for a person, alongside the result, on stderr."""
    _write(sys.stderr, shown(line))


def print_error(error: UploaderError) -> None:
    """Print what happened and what to do; a message may quote a server (docs/invariants.md §8)."""
    with contextlib.suppress(PipeClosed):  # the exit code still tells
        print_note_wrapped(redact(spelled(error.message)), "error: ")
        if error.hint:
            print_note_wrapped(redact(hint_of(error)), "hint: ")


def out_columns(names: Sequence[str], rows: Iterable[Sequence[str]]) -> int:
    """Print rows for programs, under one line with a # and their names; how many there were."""
    count = 0
    out(f"#{names[0]}", *names[1:])
    for count, row in enumerate(rows, 1):  # noqa: B007 - the last one is returned
        out(*row)
    return count


def out_facts(facts: Iterable[tuple[str, str]], columns: int | None) -> None:
    """Print names and values: under each other if ``columns`` is a width, else with a tab."""
    listed = [*facts]
    widest = max((cells(name) for name, _ in listed), default=0)
    for name, value in listed:
        if columns is None:
            out(name, value)
        else:
            out_wrapped(value, columns, padded(f"{name} ", widest + 1))


def width(*, always: bool = False) -> int | None:
    """The width of the terminal that stdout is; if it is not one, None, or ``always`` a width."""
    columns = _columns(sys.stdout)
    return shutil.get_terminal_size().columns if columns is None and always else columns


def _columns(stream: TextIO) -> int | None:
    if not stream.isatty():
        return None
    # If stdout is piped, stderr may be the only terminal.
    return shutil.get_terminal_size(os.get_terminal_size(stream.fileno())).columns


def out_table(headings: Sequence[str], rows: Sequence[Sequence[str]], columns: int) -> None:
    """Print rows under headings within ``columns``.

    The second column is shortened in its middle first. If that is not enough, the last columns are
    left out; a column that is empty in every row is always left out, the first one of a table of
    names, too.
    """
    lines = [headings, *rows]
    kept = [i for i in range(len(headings)) if any(row[i] for row in rows)]
    widths = {i: max(cells(shown(line[i])) for line in lines) for i in range(len(headings))}
    flexible = 1
    while len(kept) > 2 and _total(kept, widths | {flexible: _MIN_CELL_WIDTH}) > columns:  # noqa: PLR2004
        kept.pop()
    room = columns - _total(kept, widths | {flexible: 0})
    widths[flexible] = min(widths[flexible], max(room, _MIN_CELL_WIDTH))
    for line in lines:
        row = (_cell(headings[i], shown(line[i]), widths[i]) for i in kept)
        _write(sys.stdout, _GAP.join(row).rstrip())


def _cell(heading: str, text: str, columns: int) -> str:
    cell = shorten(text, columns)
    return paint(cell, heading, sys.stdout) + padded("", columns - cells(cell))


def _total(kept: Sequence[int], widths: Mapping[int, int]) -> int:
    return sum(widths[i] for i in kept) + len(_GAP) * (len(kept) - 1)


def out_wrapped(text: str, columns: int | None, lead: str = "") -> None:
    """Print ``lead`` and a sentence: wrapped at words on a terminal, one line elsewhere.

    A name or path is never broken, so that it can be copied.
    """
    for line in _wrapped(text, columns, lead):
        _write(sys.stdout, paint_lead(shown(line), sys.stdout))


def print_note_wrapped(text: str, lead: str = "") -> None:
    """As `out_wrapped`, but on stderr and as wide as its terminal."""
    for line in _wrapped(text, _columns(sys.stderr), lead):
        _write(sys.stderr, paint_lead(shown(line), sys.stderr))


def _wrapped(text: str, columns: int | None, lead: str) -> list[str]:
    if columns is None:
        return [lead + text]
    return wrapped(shown(text), max(columns, cells(lead) + _MIN_CELL_WIDTH), lead)


def _write(stream: TextIO, line: str, end: str = "\n") -> None:
    try:
        stream.write(line + end)
        stream.flush()
    except BrokenPipeError:
        _silence(stream)
        raise PipeClosed from None
    except OSError as problem:
        _silence(stream)
        if stream is sys.stderr:
            return  # nobody would read it, and the result matters more
        hint = "check where standard output goes, and whether its disk is full"
        message = f"the output cannot be written: {problem.strerror}"
        raise UsageError(message, hint=hint) from None


def _silence(stream: TextIO) -> None:
    """Discard what the interpreter would flush at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
