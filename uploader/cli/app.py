"""The commands by name, and their one exit: every error becomes two lines and an exit code."""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar, NoReturn

import typer
from typer import TyperException
from typer.main import get_command

from uploader import __version__
from uploader.cli.failures import fail, interrupted, wants_json
from uploader.cli.grammar import Commands, Config, Group
from uploader.cli.leaving import leave, obey_signals, signalled
from uploader.cli.terminal import PipeClosed, out, print_error, print_note
from uploader.core.errors import UploaderError, UsageError
from uploader.core.exits import Exit
from uploader.core.redact import redact


class Program(Group):
    """Loads the module of the command that was typed, and no other's: a start is most of its time.

    In the order of `uploader help`.
    """

    later: ClassVar = {
        "upload": "upload:upload",
        "enqueue": "enqueue:enqueue",
        "run": "run:run",
        "status": "status:status",
        "show": "show:show",
        "explain": "explain:explain",
        "wait": "wait:wait",
        "follow": "follow:follow",
        "pause": "verbs:pause",
        "resume": "verbs:resume",
        "cancel": "verbs:cancel",
        "retry": "verbs:retry",
        "remove": "verbs:remove",
        "prune": "prune:prune",
        "receipt": "receipt:receipt",
        "verify": "receipt:verify",
        "edit": "edit:edit",
        "preflight": "preflight:preflight",
        "logs": "history:logs",
        "events": "history:events",
        "doctor": "doctor:doctor",
        "serve": "serve:serve",
        "dashboard": "serve:dashboard",
        "sandbox": "sandbox:sandbox",
        "demo": "demo:demo",
        "man": "man:man",
        "limit": "limit:limit",
        "help": "app:help",
        "version": "app:version",
        "config": "config:config",
        "db": "db:db",
        "hooks": "hooks:hooks",
        "model": "model:model",
        "service": "service:service",
    }


app = Commands(
    Program,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        version()
        raise typer.Exit


@app.callback(
    invoke_without_command=True,
    epilog="`ls` and `list` are other names of status, `rm` of remove.",
)
def start(
    context: typer.Context,
    config: Config = None,  # noqa: ARG001 - its callback has it
    version: Annotated[  # noqa: ARG001 - as above
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """A local folder of Hugging Face model files becomes READY on Fireworks AI.

    Without a command: status. `uploader help COMMAND` explains a command.

    Example: uploader enqueue ./my-model
    """
    if context.invoked_subcommand is None:
        from uploader.cli.status import status

        status(context)


def help(  # noqa: A001 - the command's name
    command: Annotated[
        list[str] | None,
        typer.Argument(metavar="COMMAND", help="A command; without it, the program."),
    ] = None,
) -> None:
    """Explain a command: what it does, its arguments and options, and an example.

    Example: uploader help enqueue
    """
    _obey([*(command or ()), "--help"])


def version() -> None:
    """Print the version of this program.

    Example: uploader version
    """
    out(f"uploader {__version__}")


def run(arguments: Sequence[str] | None = None) -> int:
    """Carry out one command line; its exit code (docs/exit-codes.md)."""
    words = sys.argv[1:] if arguments is None else [*arguments]
    as_json = wants_json(words)
    try:
        return _obey(words)
    except (KeyboardInterrupt, SystemExit) as end:
        if isinstance(end, SystemExit) and end.code not in (Exit.INTERRUPTED, Exit.TERMINATED):
            return end.code if isinstance(end.code, int) else 0  # as completion ends
        return interrupted(end, as_json=as_json)
    except Exception as error:  # noqa: BLE001 - the last one to see it
        if by_signal := signalled():
            return interrupted(by_signal, as_json=as_json)
        return _failed(error, as_json=as_json)


def _obey(words: Sequence[str]) -> int:
    try:
        code = get_command(app).main(args=words, prog_name="uploader", standalone_mode=False)
    except typer.Abort:  # Ctrl-C or Ctrl-D instead of an answer
        raise KeyboardInterrupt from None
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


def _failed(error: Exception, *, as_json: bool) -> int:
    if isinstance(error, UploaderError):
        return fail(error, as_json=as_json)
    return (
        Exit.PIPE_CLOSED if isinstance(error, PipeClosed) else _report_bug(error, as_json=as_json)
    )


def _report_bug(error: Exception, *, as_json: bool) -> int:
    for line in redact("".join(traceback.format_exception(error))).splitlines():
        print_note(line)
    hint = "please report it with the lines above"
    message = f"this is a bug: unexpected {type(error).__name__}"
    return fail(UploaderError(message, hint=hint), as_json=as_json)


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
    try:
        refuse_windows(sys.platform)
    except UsageError as error:
        print_error(error)
        sys.exit(error.exit_code)
    obey_signals()
    leave(run())


def _open_closed_streams() -> None:
    """Send what goes to a closed stream nowhere, so that no file of ours gets its number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115
