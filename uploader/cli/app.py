"""The commands by name, and their one exit: every error becomes two lines and an exit code."""

from __future__ import annotations

import io
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer
from typer import TyperException
from typer.main import get_command

from uploader import __version__
from uploader.cli import (
    config,
    db,
    demo,
    enqueue,
    explain,
    follow,
    history,
    preflight,
    sandbox,
    show,
    status,
    upload,
    verbs,
    wait,
)
from uploader.cli.run import run as work
from uploader.cli.terminal import PipeClosed, out, print_error, print_note
from uploader.core.errors import UploaderError, UsageError
from uploader.core.exits import Exit
from uploader.core.redact import redact

app = typer.Typer(
    help="A local folder of Hugging Face model files becomes READY on Fireworks AI.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

COMMANDS: tuple[Callable[..., None], ...] = (
    upload.upload,
    enqueue.enqueue,
    work,
    status.status,
    show.show,
    explain.explain,
    wait.wait,
    follow.follow,
    verbs.pause,
    verbs.resume,
    verbs.cancel,
    verbs.retry,
    verbs.remove,
    preflight.preflight,
    history.logs,
    history.events,
    sandbox.sandbox,
    demo.demo,
)
for _command in COMMANDS:
    app.command()(_command)
app.add_typer(config.config, name="config")
app.add_typer(db.db, name="db")


def _print_version(wanted: bool) -> None:
    if wanted:
        out(f"uploader {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def start(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="The configuration file.", show_default=False, readable=False
        ),
    ] = None,
    version: Annotated[  # noqa: ARG001 - its callback has it
        bool, typer.Option("--version", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """A local folder of Hugging Face model files becomes READY on Fireworks AI.

    Without a command: status.
    """
    context.obj = config
    if context.invoked_subcommand is None:
        status.status(context)


def run(arguments: Sequence[str] | None = None) -> int:
    """Carry out one command line; its exit code (docs/exit-codes.md)."""
    try:
        return _obey(arguments)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except UploaderError as error:
        print_error(error)
        return error.exit_code
    except PipeClosed:
        return Exit.PIPE_CLOSED
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last one to see it
        return _report_bug(error)


def _obey(arguments: Sequence[str] | None) -> int:
    try:
        code = get_command(app).main(args=arguments, prog_name="uploader", standalone_mode=False)
    except TyperException as error:
        raise _misused(error) from None
    return code if isinstance(code, int) else 0


def _misused(error: TyperException) -> UsageError:
    """A wrong command line, as our two lines of an error."""
    what = " ".join(error.format_message().replace("Value error, ", "").split()).rstrip(".")
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "uploader"
    hint = f"`{command} -h` shows what is allowed"
    return UsageError(what[:1].lower() + what[1:], hint=hint)


def _report_bug(error: Exception) -> int:
    for line in redact("".join(traceback.format_exception(error))).splitlines():
        print_note(line)
    hint = "please report it with the lines above"
    print_error(UploaderError(f"this is a bug: unexpected {type(error).__name__}", hint=hint))
    return Exit.BUG


def refuse_windows(platform: str) -> None:
    """Raises UsageError on Windows, whose locks and signals work differently."""
    if platform.startswith("win"):
        raise UsageError("uploader does not run on Windows", hint="use WSL, Linux or macOS")


def main() -> NoReturn:
    """The program."""
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal may not show all of Unicode
    signal.signal(signal.SIGTERM, _terminate)
    try:
        refuse_windows(sys.platform)
    except UsageError as error:
        print_error(error)
        sys.exit(error.exit_code)
    sys.exit(run())


def _open_closed_streams() -> None:
    """Send what goes to a closed stream nowhere, so that no file of ours gets its number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115


def _terminate(number: int, frame: FrameType | None) -> None:
    """Leave through every `finally`, so that a hidden cursor comes back."""
    del number, frame
    sys.exit(Exit.TERMINATED)
