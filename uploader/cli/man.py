"""`uploader man`: manual pages, made of what `uploader help` shows."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from uploader import __version__
from uploader.cli.grammar import Row, described
from uploader.cli.terminal import out, out_plain
from uploader.core.errors import UsageError

_EXAMPLE = "Example: "


def man(
    context: typer.Context,
    command: Annotated[
        list[str] | None,
        typer.Argument(metavar="COMMAND", help="A command; without it, the program."),
    ] = None,
    write: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write all pages into the folder DIR, and print their paths.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Print a manual page, or write all of them.

    `uploader man enqueue | man -l -` shows one.

    Example: uploader man --write ~/.local/share/man/man1
    """
    root = context.find_root()
    if write is None:
        out_plain(page(_found(root, command or ())))
        return
    if command:
        raise UsageError("COMMAND and --write exclude each other", hint="--write writes all pages")
    try:
        write.mkdir(parents=True, exist_ok=True)
        for one in _all(root):
            path = write / f"{one.command_path.replace(' ', '-')}.1"
            path.unlink(missing_ok=True)
            with path.open("x", encoding="utf-8") as file:  # a link that waits is not followed
                file.write(page(one))
            out(str(path))
    except OSError as problem:
        message = f"{write} cannot be written: {problem.strerror}"
        raise UsageError(message, hint="choose another folder") from None


def _found(context: Any, names: Sequence[str]) -> Any:
    for name in names:
        inner = getattr(context.command, "commands", {}).get(name)
        if inner is None:
            hint = f"`{context.command_path} -h` lists them"
            raise UsageError(f"there is no command {name}", hint=hint)
        context = _below(context, name, inner)
    return context


def _all(context: Any) -> Iterator[Any]:
    yield context
    for name, inner in getattr(context.command, "commands", {}).items():
        yield from _all(_below(context, name, inner))


def _below(context: Any, name: str, command: Any) -> Any:
    return type(context)(command, info_name=name, parent=context)


def page(context: Any) -> str:
    """The manual page of a command, in the language of groff's `man` macros."""
    command, path = context.command, context.command_path
    first, *more = inspect.cleandoc(command.help or "").split("\n\n")
    arguments, options = described(command, context)
    inner = [(n, c.get_short_help_str()) for n, c in getattr(command, "commands", {}).items()]
    usage = " ".join(command.collect_usage_pieces(context))
    lines = [
        f'.TH "{_text(path.replace(" ", "-").upper())}" 1 "" "uploader {__version__}"',
        ".nh",  # a name that is broken in two cannot be copied
        *(".SH NAME", f"{_text(path.replace(' ', '-'))} \\- {_text(' '.join(first.split()))}"),
        *(".SH SYNOPSIS", f".B {_text(path)}", _text(usage)),
        ".SH DESCRIPTION",
        *_paragraphs([first, *(one for one in more if not one.startswith(_EXAMPLE))]),
        *_rows("ARGUMENTS", arguments),
        *_rows("OPTIONS", options),
        *_rows("COMMANDS", inner),
        ".SH EXAMPLE",
        *(_text(one.removeprefix(_EXAMPLE)) for one in more if one.startswith(_EXAMPLE)),
    ]
    return "\n".join(lines)


def _paragraphs(texts: Sequence[str]) -> Iterator[str]:
    for text in texts:
        yield ".PP"
        yield _text(" ".join(text.split()))


def _rows(title: str, rows: Sequence[Row]) -> Iterator[str]:
    if rows:
        yield f".SH {title}"
    for name, about in rows:
        yield ".TP"
        yield f".B {_text(name)}"
        yield _text(" ".join(about.split()))


def _text(text: str) -> str:
    """``text`` as groff shows it: no line of it is taken for a command."""
    shown = text.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq")
    return f"\\&{shown}" if shown.startswith((".", "'")) else shown
