"""`uploader doctor`: what is wrong, and what helps."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from uploader import wiring
from uploader.cli.options import AsJson
from uploader.cli.settings import settings_of
from uploader.cli.terminal import out, out_json, out_wrapped, print_note, width
from uploader.core.doctor_documents import (
    Check,
    Health,
    ProbeLineJson,
    doctor_document,
    probe_document,
    probe_line,
)
from uploader.core.errors import UsageError
from uploader.core.exits import Exit
from uploader.core.probe import Match

if TYPE_CHECKING:
    from uploader.settings.schema import Settings


def doctor(
    context: typer.Context,
    bundle: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Also write an archive for support to FILE: this, the settings, the jobs and their"
            " history. It has no secret; what is in it is listed.",
            show_default=False,
        ),
    ] = None,
    probe: Annotated[
        bool,
        typer.Option(
            "--probe",
            help="Instead ask the live service what is not documented, with a model of a few KB"
            " that it creates and deletes, and compare that with what uploader assumes.",
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Create that model.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Do not delete that model.")] = False,
    as_json: AsJson = False,
) -> None:
    """Look at configuration, key, account, network, clock, disk and limits; say what helps.

    Exit 0 if nothing fails, or with --probe if nothing contradicts, else 2.

    Example: uploader doctor
    """
    if probe or yes or keep:
        _refuse_other_flags(probe=probe, bundle=bundle)
        raise typer.Exit(_probe(settings_of(context), yes=yes, keep=keep, as_json=as_json))
    from uploader.service.doctor import examine  # loads the network

    settings, columns, checks = settings_of(context), width(), []
    for check in examine(settings):
        checks.append(check)
        if not as_json:
            _print(check, columns)
    document = doctor_document(checks)
    if as_json:
        out_json(document)
    if bundle is not None:
        from uploader.service.doctor.bundle import write_bundle

        for name in write_bundle(bundle, settings, document, wiring.clock()):
            print_note(f"{bundle}: {name}")
    if any(check.status is Health.FAIL for check in checks):
        raise typer.Exit(Exit.USAGE)


def _refuse_other_flags(*, probe: bool, bundle: Path | None) -> None:
    if not probe:
        raise UsageError("--yes and --keep are for --probe", hint="`uploader doctor --probe --yes`")
    if bundle is not None:
        raise UsageError("--probe writes no archive", hint="leave out --bundle, or --probe")


def _probe(settings: Settings, *, yes: bool, keep: bool, as_json: bool) -> Exit:
    """The report has no name, no address and no secret in it, so that it can be shown to others."""
    from uploader.service.doctor.probe import Probe  # loads the network

    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # a closed terminal leaves no model
        signal.signal(signal.SIGHUP, signal.getsignal(signal.SIGTERM))
    lines: list[ProbeLineJson] = []
    columns = width()
    with Probe(settings, keep=keep, tell=print_note) as probe:
        if not yes:
            raise _unasked(probe.account, probe.model_id, probe.sizes)
        print_note(f"creating accounts/{probe.account}/models/{probe.model_id}")
        for line in probe.lines():
            lines.append(probe_line(line, probe.said(line)))
            if not as_json:
                _print_line(lines[-1], columns)
    document = probe_document(lines)
    if as_json:
        out_json(document)
    elif document["not_asked"]:
        out_wrapped(", ".join(document["not_asked"]), columns, "not asked: ")
    differs = any(line["match"] == Match.CONTRADICTS.value for line in lines)
    return Exit.USAGE if differs or probe.left_behind else Exit.OK


def _unasked(account: str, model_id: str, sizes: Mapping[str, int]) -> UsageError:
    listed = ", ".join(f"{name} ({size} B)" for name, size in sizes.items())
    message = (
        f"it would create a model like {model_id} on the account {account} with {listed},"
        " and delete it"
    )
    return UsageError(message, hint="add --yes if that is meant; nothing was created")


def _print_line(line: ProbeLineJson, columns: int | None) -> None:
    if columns is None:
        out(line["name"], line["match"], line["seen"], line["assumes"], line["source"])
        return
    out_wrapped(line["seen"], columns, f"{line['match']:12}{line['name']:18}")
    if line["match"] != Match.CONFIRMED.value:
        out_wrapped(f"assumed: {line['assumes']} ({line['source']})", columns, " " * 30)


def _print(check: Check, columns: int | None) -> None:
    if columns is None:
        out(check.name, check.status, check.message, check.hint)
        return
    out_wrapped(check.message, columns, f"{check.status:5}{check.name:16}")
    if check.hint and check.status is not Health.OK:
        out_wrapped(f"hint: {check.hint}", columns, " " * 21)
