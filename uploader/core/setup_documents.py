"""The JSON documents about the configuration and the state store; see documents.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from typing_extensions import TypedDict


class SettingJson(TypedDict):
    """One setting."""

    setting: Annotated[str, "Its name: see [configuration.md](configuration.md)."]
    value: Annotated[str, "The value in use; a secret is only `set` or `not set`."]
    origin: Annotated[str, "Where it comes from: `default`, a file, or a variable."]


class ConfigDocument(TypedDict):
    """`uploader config show --json`: every setting in use."""

    schema: Annotated[Literal["uploader.config/1"], "The name and version of this document."]
    settings: Annotated[list[SettingJson], "All settings."]


class ConfigPathDocument(TypedDict):
    """`uploader config path --json`: the configuration file in use."""

    schema: Annotated[Literal["uploader.config_path/1"], "The name and version of this document."]
    path: Annotated[str | None, "The file; null if there is none."]


class ConfigCheckDocument(TypedDict):
    """`uploader config check --json`: the configuration can be used."""

    schema: Annotated[Literal["uploader.config_check/1"], "The name and version of this document."]
    config_file: Annotated[str | None, "The configuration file in use; null if there is none."]
    state_dir: Annotated[str, "The state folder in use."]
    api_key: Annotated[str | None, "Where the API key comes from; null if there is no key."]
    warnings: Annotated[list[str], "What may go wrong all the same."]


class StoreVersionDocument(TypedDict):
    """`uploader db current --json`, `uploader db upgrade --json`: the state store."""

    schema: Annotated[Literal["uploader.store/1"], "The name and version of this document."]
    version: Annotated[str | None, "The version of its schema; null if there is no store yet."]


class BackupDocument(TypedDict):
    """`uploader db backup --json`: a copy of the state store."""

    schema: Annotated[Literal["uploader.backup/1"], "The name and version of this document."]
    path: Annotated[str, "The copy."]


class PruneDocument(TypedDict):
    """`uploader prune --json`: what went, or would go."""

    schema: Annotated[Literal["uploader.prune/1"], "The name and version of this document."]
    dry_run: Annotated[bool, "Whether everything is still there."]
    before: Annotated[str, "Jobs that were done or cancelled before this time are meant."]
    jobs: Annotated[int, "How many of them went."]
    files: Annotated[int, "How many files they had."]
    events: Annotated[int, "How many events told of them."]


class ServiceFactJson(TypedDict):
    """One fact about the service."""

    name: Annotated[str, "In the service manager's word: `ActiveState`, `pid`, …"]
    value: Annotated[str, "What it says."]


class ServiceDocument(TypedDict):
    """`uploader service status --json`: what systemd or launchd says about the service."""

    schema: Annotated[Literal["uploader.service/1"], "The name and version of this document."]
    path: Annotated[str, "The definition of the service."]
    facts: Annotated[list[ServiceFactJson], "What the service manager says."]


def service_document(path: str, facts: Mapping[str, str]) -> ServiceDocument:
    """The document about the service that is defined at ``path``."""
    listed: list[ServiceFactJson] = [
        {"name": name, "value": value} for name, value in facts.items()
    ]
    return {"schema": "uploader.service/1", "path": path, "facts": listed}
