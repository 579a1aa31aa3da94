"""`uploader preflight`: what Fireworks would refuse in a folder, before anything is sent."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from uploader import wiring
from uploader.cli import options
from uploader.cli.failures import fail
from uploader.cli.findings import in_flags, print_findings, print_left_out, total_of
from uploader.cli.flags import spelled
from uploader.cli.looking import looking
from uploader.cli.settings import settings_of
from uploader.cli.terminal import out, out_json, out_wrapped, print_note_wrapped, width
from uploader.core.documents import preflight_document
from uploader.core.errors import UploaderError, UsageError
from uploader.intake.request import EnqueueRequest

if TYPE_CHECKING:
    from uploader.intake.inspect import Inspection

Rate = Annotated[
    str | None,
    typer.Option(
        metavar="RATE",
        help='Assume this RATE, like "20MB/s". Default: that of the last upload.',
    ),
]


@options.spread
def preflight(
    context: typer.Context,
    path: options.Folder,
    *,
    wanted: options.FolderOptions,
    rate: Rate = None,
    online: options.Online = False,
    as_json: options.AsJson = False,
) -> None:
    """Check a model folder for what Fireworks would refuse.

    It needs no network, and reads only the headers of the weights.

    Example: uploader preflight ./my-model
    """
    request = wanted.request(path)
    seen = _inspect(context, request, rate_bps=_rate(rate), online=online, as_json=as_json)
    counts = f"; {seen.counts}" if seen.findings else ""
    what = f"{seen.manifest.root} can become {seen.what}"
    print_note_wrapped(f"{what} ({spelled(seen.because)}): {total_of(seen)}{counts}")
    if slow := wiring.slowness():
        print_note_wrapped(f"warning: {slow}")


def _inspect(
    context: typer.Context,
    request: EnqueueRequest,
    *,
    rate_bps: int | None,
    online: bool,
    as_json: bool,
) -> Inspection:
    """Print what was found, whether or not the folder can become a model.

    Raises typer.Exit if it cannot.
    """
    from uploader.intake import plan as intake  # slow to import

    settings = settings_of(context)
    with wiring.Store(settings) as store:
        now, jobs = wiring.clock().now(), store.glimpse()
        look = partial(intake.inspect, request, settings, jobs, now, rate_bps=rate_bps)
        seen = looking(request.path, look)
    try:
        if online:
            seen = intake.ask(request, seen, settings, wiring.service(settings))
        intake.plan(request, seen, settings)
    except UploaderError as error:
        if not as_json:
            _print(seen, width())
        result = preflight_document(seen.as_json())
        raise typer.Exit(fail(error, as_json=as_json, result=result)) from None
    if as_json:
        out_json(preflight_document(seen.as_json()))
    else:
        _print(seen, width())
    return seen


def _rate(text: str | None) -> int | None:
    if text is None:
        return None
    from uploader.settings.units import parse_rate

    with contextlib.suppress(ValueError):
        if given := parse_rate(text):
            return given
    raise UsageError(f"--rate {text!r} is not a rate", hint='write a rate like "20MB/s"')


def _print(seen: Inspection, columns: int | None) -> None:
    if columns is not None:
        print_findings(seen, lambda text, lead: out_wrapped(text, columns, lead))
        return
    for finding in seen.findings:
        out(*map(str, in_flags(finding).as_json().values()))
    print_left_out(seen.left_out)
