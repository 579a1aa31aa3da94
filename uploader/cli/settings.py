"""The settings of a command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from uploader.cli.terminal import print_note
from uploader.deadlines import LastResort
from uploader.runtime import importing

if TYPE_CHECKING:
    from uploader.settings.schema import Settings


def settings_of(context: typer.Context) -> Settings:
    """The settings, from flag > environment > file > default. Raises UsageError."""
    with importing("pydantic"):
        from uploader.settings.load import load

    with LastResort():
        settings = load(context.obj)
    for sentence in settings.warnings:
        print_note(f"warning: {sentence}")
    return settings
