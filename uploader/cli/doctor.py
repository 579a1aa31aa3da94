"""`uploader doctor`: what is wrong, and what helps."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from uploader import wiring
from uploader.cli.options import AsJson
from uploader.cli.settings import settings_of
from uploader.cli.terminal import out, out_json, out_wrapped, print_note, width
from uploader.core.doctor_documents import Check, Health, doctor_document
from uploader.core.exits import Exit


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
    as_json: AsJson = False,
) -> None:
    """Look at configuration, key, account, network, clock, disk and limits; say what helps.

    Exit 0 if nothing fails, else 2.

    Example: uploader doctor
    """
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


def _print(check: Check, columns: int | None) -> None:
    if columns is None:
        out(check.name, check.status, check.message, check.hint)
        return
    out_wrapped(check.message, columns, f"{check.status:5}{check.name:16}")
    if check.hint and check.status is not Health.OK:
        out_wrapped(f"hint: {check.hint}", columns, " " * 21)
