"""`uploader config`: the settings in force, and where each of them comes from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from uploader import wiring
from uploader.cli.grammar import Commands
from uploader.cli.options import AsJson
from uploader.cli.settings import settings_of
from uploader.cli.terminal import (
    out,
    out_columns,
    out_facts,
    out_json,
    out_wrapped,
    print_note,
    print_note_wrapped,
    width,
)
from uploader.core import addresses
from uploader.core.database_url import TLS_HINT
from uploader.core.reasons import Code
from uploader.core.setup_documents import (
    ConfigCheckDocument,
    ConfigDocument,
    ConfigPathDocument,
    SettingJson,
)

if TYPE_CHECKING:
    from uploader.settings.schema import Settings

config = Commands(help="The configuration.\n\nExample: uploader config show")

_NAME_COLUMNS = 30


@config.command("show")
def show_config(context: typer.Context, as_json: AsJson = False) -> None:
    """Every setting, its value and where it comes from; secrets are masked.

    Example: uploader config show
    """
    from uploader.settings.load import describe  # pydantic is slow to import

    rows, columns = describe(settings_of(context)), width()
    if as_json:
        out_json(_settings_document(rows))
    elif columns is None:
        out_columns(tuple(SettingJson.__annotations__), rows)
    else:
        for name, value, origin in rows:
            out_wrapped(f"{value or 'not set'}  ({origin})", columns, f"{name:{_NAME_COLUMNS}} ")


@config.command("path")
def config_path(context: typer.Context, as_json: AsJson = False) -> None:
    """Print the path of the configuration file in use.

    Example: uploader config path
    """
    file = settings_of(context).config_file
    if as_json:
        document: ConfigPathDocument = {
            "schema": "uploader.config_path/1",
            "path": str(file) if file else None,
        }
        out_json(document)
    elif file is None:
        print_note("there is no configuration file: environment and defaults apply")
    else:
        out(str(file))


@config.command("check")
def check_config(context: typer.Context, as_json: AsJson = False) -> None:
    """Check every setting as a worker would read it; exit 2 if one is wrong.

    It also says which API key a worker would use. Fireworks is not asked.

    Example: uploader config check --config ./uploader.toml
    """
    from uploader.settings.hooks import deaf  # pydantic is slow to import
    from uploader.settings.load import relative
    from uploader.settings.strangers import replaceable

    settings = settings_of(context)
    wiring.trust(settings)
    key = wiring.api_key_origin(settings)
    warnings = [*relative(settings), *deaf(settings.hooks), *replaceable(settings)]
    if doubts := addresses.doubts(settings.fireworks.base_url):
        warnings.append(doubts)
    if doubts := wiring.doubts(settings):
        warnings.append(f"{doubts}; {TLS_HINT}")
    if not key:
        warnings.append(f"there is no API key: {Code.NO_KEY.hint}")
    for warning in warnings:
        print_note_wrapped(warning, "warning: ")
    if as_json:
        out_json(_check_document(settings, key, warnings))
        return
    facts = [
        ("configuration file", str(settings.config_file or "none")),
        ("state folder", str(settings.state_dir)),
        ("API key", f"from {key}" if key else "none"),
    ]
    out_facts(facts, width())
    out("ok")


def _settings_document(rows: Sequence[tuple[str, str, str]]) -> ConfigDocument:
    settings: list[SettingJson] = [
        {"setting": name, "value": value, "origin": origin} for name, value, origin in rows
    ]
    return {"schema": "uploader.config/1", "settings": settings}


def _check_document(settings: Settings, key: str, warnings: list[str]) -> ConfigCheckDocument:
    file = settings.config_file
    return {
        "schema": "uploader.config_check/1",
        "config_file": str(file) if file else None,
        "state_dir": str(settings.state_dir),
        "api_key": key or None,
        "warnings": [*settings.warnings, *warnings],
    }
