"""How a command says that it failed: two lines on stderr and, with --json, a document on stdout."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import typer

from uploader.cli.flags import hint_of, spelled
from uploader.cli.terminal import PipeClosed, out_json, print_error
from uploader.core.errors import PreflightRefused, UploaderError, UsageError, WaitTimedOut
from uploader.core.exits import Exit
from uploader.core.job import Job, Reason, Status
from uploader.core.reasons import Code
from uploader.core.redact import redact
from uploader.deadlines import PATIENCE_S
from uploader.store.database.answers import answering_within


def wants_json(arguments: Sequence[str]) -> bool:
    """Whether a command line asks for JSON, even one that cannot be parsed."""
    options = arguments[: [*arguments, "--"].index("--")]
    return "--json" in options


def fail(error: UploaderError, *, as_json: bool, result: Mapping[str, Any] | None = None) -> Exit:
    """Print ``error`` and return its exit code; ``result`` is what the command found before it."""
    if as_json:
        with contextlib.suppress(PipeClosed, UsageError):  # the exit code still tells
            # Events are one object per line, and so is what ends them.
            out_json({**(result or {}), **_failure(error)}, indent=2 if result else None)
    print_error(error)
    return error.exit_code


@contextlib.contextmanager
def reporting(found: Callable[[], Mapping[str, Any]], *, as_json: bool) -> Iterator[None]:
    """If a signal or a time-out ends what is done here, print what was ``found``, with --json."""
    try:
        yield
    except WaitTimedOut as error:
        if not as_json:
            raise
        raise typer.Exit(fail(error, as_json=True, result=_by_then(found))) from None
    except (KeyboardInterrupt, SystemExit) as end:
        if not as_json:
            raise
        raise typer.Exit(interrupted(end, as_json=True, found=found)) from None


def interrupted(
    end: KeyboardInterrupt | SystemExit,
    *,
    as_json: bool,
    found: Callable[[], Mapping[str, Any]] = dict,
) -> Exit:
    """The exit code of a command that a signal has ended; with --json, it prints a document still.

    What was ``found`` by then is left out if it cannot be read any more.
    """
    terminated = isinstance(end, SystemExit) and end.code == Exit.TERMINATED
    code = Exit.TERMINATED if terminated else Exit.INTERRUPTED
    if as_json:
        document = _by_then(found)
        with contextlib.suppress(PipeClosed, UsageError):
            error = UploaderError(code.meaning, code=Code.INTERRUPTED)
            out_json({**document, **_failure(error)}, indent=2 if document else None)
    return code


def _by_then(found: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
    """What was ``found``; nothing if it cannot be read any more, or not in time."""
    with contextlib.suppress(UploaderError), answering_within(PATIENCE_S):
        return {**found()}
    return {}


class Failures:
    """Those of the jobs or folders that were given for which a command failed, in their order."""

    def __init__(self) -> None:
        self._errors: list[tuple[str, UploaderError]] = []

    def add(self, given: str, error: UploaderError) -> None:
        """Print the error; the command goes on with the next job or folder."""
        print_error(error)
        self._errors.append((given, error))

    def __bool__(self) -> bool:
        return bool(self._errors)

    @property
    def exit_code(self) -> Exit:
        """That of the first failure."""
        return next(iter(self.exit_codes), Exit.OK)

    @property
    def exit_codes(self) -> list[Exit]:
        """Those of all failures, in their order."""
        return [error.exit_code for _, error in self._errors]

    def document(self, result: Mapping[str, Any] | None) -> dict[str, Any]:
        """``result`` with the failures in it, if there are any (docs/json.md).

        It is empty if the only job or folder failed: then there is nothing but the error.
        """
        if not self._errors:
            return dict(result or {})
        first = _failure(self._errors[0][1])
        if not result:
            return first
        errors = [{"given": given, **_flat(_failure(error))} for given, error in self._errors]
        return {**result, "error": first["error"], "errors": errors}


def unfinished(jobs: Iterable[Job]) -> dict[str, Any]:
    """Why the first unfinished one of ``jobs``, for which a command waited, is not done."""
    for job in jobs:
        if job.status is not Status.DONE:
            reason = job.reason or Reason(job.status, f"job {job.id} is {job.status}", "")
            message, hint = redact(spelled(reason.message)), redact(spelled(reason.hint))
            return {"error": {"code": reason.code, "message": message, "hint": hint}}
    return {}


def _failure(error: UploaderError) -> dict[str, Any]:
    """``error`` as `--json` prints it: no secret in it, and flags instead of fields."""
    reason = {
        "code": error.code,
        "message": redact(spelled(error.message)),
        "hint": redact(hint_of(error)),
    }
    if not isinstance(error, PreflightRefused):
        return {"error": reason}
    return {"error": reason, "findings": [finding.as_json() for finding in error.findings]}


def _flat(failure: Mapping[str, Any]) -> dict[str, Any]:
    return {**failure["error"], **{k: v for k, v in failure.items() if k != "error"}}
