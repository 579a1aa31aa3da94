"""Every setting with its type, its bounds and its default.

An attribute's name is its key plus its unit, if it has one: `chunk_size` →
`transfer.chunk_size_bytes`. Sizes are bytes, durations seconds, rates bytes per second.
Defaults are written as people write them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import quote

import platformdirs
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    InstanceOf,
    ValidationInfo,
    field_validator,
)

from uploader import files
from uploader.core import addresses
from uploader.core.database_url import sqlite_file
from uploader.core.job import ACCOUNT_ID
from uploader.core.redact import ApiKey
from uploader.core.resumable import GRANULE
from uploader.core.text import flaw_of_path
from uploader.core.timetable import Timetable
from uploader.settings.api import Api
from uploader.settings.hooks import Hook, hooks_of
from uploader.settings.places import at_home, private
from uploader.settings.section import OptionalPath, Section, Text, whole_path
from uploader.settings.timetable import parse_limit
from uploader.settings.units import parse_duration, parse_rate, parse_size

_MAX_COUNT = 256
_USUAL_TABLE = "uploader.db"


def _within(low: str, high: str, parse: Callable[[object], float | None]) -> AfterValidator:
    def check(value: float | str | None) -> float | str | None:
        if isinstance(value, (int, float)) and not (parse(low) or 0) <= value <= (parse(high) or 0):
            raise ValueError(f"it may be from {low} to {high}")
        return value

    return AfterValidator(check)


def _auto_or_size(value: object) -> int | Literal["auto"]:
    return "auto" if str(value).strip() == "auto" else parse_size(value)


def _granular(size_bytes: int | Literal["auto"]) -> int | Literal["auto"]:
    if isinstance(size_bytes, int) and size_bytes % GRANULE:
        raise ValueError(
            "it must be a multiple of 256KiB, the unit in which the storage service persists,"
            ' like "64MiB"'
        )
    return size_bytes


def count(value: object) -> int:
    """A number of jobs or files; raises ValueError."""
    text = str(value).strip() if type(value) in (int, str) else ""
    if not re.fullmatch(r"[0-9]{1,3}", text) or not 1 <= int(text) <= _MAX_COUNT:
        raise ValueError(f"write a whole number from 1 to {_MAX_COUNT}")
    return int(text)


def auto_or_count(value: object) -> int | Literal["auto"]:
    """A number of files in flight, or "auto"; raises ValueError."""
    if isinstance(value, str) and value.strip() == "auto":
        return "auto"
    try:
        return count(value)
    except ValueError:
        raise ValueError(f'write a whole number from 1 to {_MAX_COUNT}, or "auto"') from None


def _path_at_home(value: object) -> object:
    try:
        return whole_path(value)
    except ValueError:
        return None


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError("this user has no home folder: set UPLOADER_STATE_DIR to a folder")
    return path


def _account_id(text: str | None) -> str | None:
    if text is not None and not ACCOUNT_ID.fullmatch(text):
        raise ValueError("it is the short id in accounts/ID, not an e-mail address")
    return text


Count = Annotated[int, BeforeValidator(count)]
Duration = Annotated[float, BeforeValidator(parse_duration)]


def _written(text: str) -> Any:
    """A default as config.example.toml writes it; validation makes a value of it."""
    return Field(text)


class Fireworks(Section):
    """The service. Order of keys: the environment's, the file's, the command's, auth.ini's."""

    base_url: Annotated[str, AfterValidator(addresses.base_url)] = "https://api.fireworks.ai"
    account_id: Annotated[Text, AfterValidator(_account_id)] = None
    api_key_file: OptionalPath = None
    api_key_command: Text = Field(default=None, repr=False)
    ca_bundle: OptionalPath = None
    api_key: InstanceOf[ApiKey] | None = Field(default=None, exclude=True)


class Transfer(Section):
    """How much is sent at once: numbers, bytes, and bytes per second."""

    max_jobs: Count = 2
    max_files: Annotated[int | Literal["auto"], BeforeValidator(auto_or_count)] = "auto"
    chunk_size_bytes: Annotated[
        int | Literal["auto"],
        BeforeValidator(_auto_or_size),
        _within("256KiB", "5TiB", parse_size),
        AfterValidator(_granular),
    ] = "auto"
    bandwidth_limit: Annotated[InstanceOf[Timetable], BeforeValidator(parse_limit)] = _written(
        "off"
    )
    slowest_uplink_bps: Annotated[
        int | None, BeforeValidator(parse_rate), _within("1KiB/s", "1TB/s", parse_rate)
    ] = _written("256KiB/s")
    recreate: bool = True


class Validation(Section):
    """How often, and for how many seconds, the service is asked whether a model is ready."""

    poll_interval_s: Annotated[Duration, _within("10ms", "1h", parse_duration)] = _written("30s")
    deadline_s: Annotated[Duration, _within("1s", "30d", parse_duration)] = _written("60min")


class Retry(Section):
    """The first and the longest delay between two tries, in seconds."""

    initial_delay_s: Annotated[Duration, _within("1ms", "1h", parse_duration)] = _written("1s")
    max_delay_s: Annotated[Duration, _within("1ms", "1d", parse_duration)] = _written("60s")

    @field_validator("max_delay_s")
    @classmethod
    def _not_below_the_first(cls, value: float, info: ValidationInfo) -> float:
        if value < info.data.get("initial_delay_s", 0.0):
            raise ValueError("it may not be shorter than retry.initial_delay")
        return value


class Lease(Section):
    """How many seconds a worker's claim on a job lasts without being renewed."""

    duration_s: Annotated[Duration, _within("1s", "1h", parse_duration)] = _written("60s")


def _keep(value: object) -> float | None:
    text = value.strip() if isinstance(value, str) else value
    return None if text == "forever" else parse_duration(text)


class History(Section):
    """For how many seconds a job that has ended is remembered; None: for ever."""

    keep_s: Annotated[
        float | None, BeforeValidator(_keep), _within("1h", "36500d", parse_duration)
    ] = _written("90d")


def _one_of(*words: str) -> BeforeValidator:
    def check(value: object) -> str:
        text = value.strip().lower() if isinstance(value, str) else ""
        if text not in words:
            raise ValueError(f"it may be {', '.join(words[:-1])} or {words[-1]}")
        return text

    return BeforeValidator(check)


class Integrity(Section):
    """Whether the SHA-256 of a file is computed while it is sent; auto: if that slows nothing."""

    sha256: Annotated[str, _one_of("auto", "on", "off")] = "auto"


LEVELS = ("debug", "info", "warning", "error")


class Log(Section):
    """What `run` and `serve` write to standard error."""

    level: Annotated[str, _one_of(*LEVELS)] = "info"
    format: Annotated[str, _one_of("auto", "text", "json")] = "auto"


class Given(NamedTuple):
    """A setting that was made: its text, masked if secret, and where it is written."""

    text: str
    origin: str


class Settings(Section):
    """All settings, and where each of them comes from."""

    state_dir: Annotated[Path, BeforeValidator(whole_path), AfterValidator(_absolute)] = Field(
        default_factory=lambda: at_home(platformdirs.user_state_path) or Path("~")
    )
    database_url: str = Field(f"sqlite:///STATE_DIR/{_USUAL_TABLE}", repr=False)
    database_secret_file: OptionalPath = None
    fireworks: Fireworks = Field(default_factory=Fireworks)
    transfer: Transfer = Field(default_factory=Transfer)
    validation: Validation = Field(default_factory=Validation)
    retry: Retry = Field(default_factory=Retry)
    lease: Lease = Field(default_factory=Lease)
    history: History = Field(default_factory=History)
    integrity: Integrity = Field(default_factory=Integrity)
    log: Log = Field(default_factory=Log)
    api: Api = Field(default_factory=Api)
    hooks: Annotated[tuple[Hook, ...], BeforeValidator(hooks_of)] = ()

    #: None if this user has no home.
    auth_ini: Annotated[Path | None, BeforeValidator(_path_at_home)] = _written(
        "~/.fireworks/auth.ini"
    )
    #: Warnings about the environment.
    warnings: tuple[str, ...] = Field(default=(), exclude=True)
    config_file: Path | None = Field(default=None, exclude=True)
    #: Where systemd has put its copies of a service's secrets.
    credentials: Path | None = Field(default=None, exclude=True)
    given: Mapping[str, Given] = Field(default_factory=dict, exclude=True, repr=False)

    @property
    def private_paths(self) -> tuple[Path, ...]:
        """The files with a key, a command to run, or session URIs: they must never be sent.

        A folder among them stands for the files in it.
        """
        named = (
            self.fireworks.api_key_file,
            self.auth_ini,
            self.config_file,
            self.database_secret_file,
            self.api.tls_key_file,
            *(file for hook in self.hooks for file in hook.secret_file),
            self.state_dir / "api.token",
            *private(),
            self.credentials,
        )
        return (*(path for path in named if path), *self._stores())

    @property
    def snapshots(self) -> Path | None:
        """The folder of the snapshots, next to a job table in a file; None for any other table."""
        store = self.store_file
        return store.with_name(f"{store.name}.snapshots") if store else None

    @property
    def locks_dir(self) -> Path:
        """Where workers show that they live, and migrations that they go on.

        Beside a job table in a file: all who use that have to see it, whatever their state folders,
        and nobody else, as those whose table is in PostgreSQL, which knows its workers by itself.
        """
        store = self.store_file
        if store is None:
            return self.state_dir / "postgresql.locks"
        real = Path(os.path.realpath(store))
        return real.parent if real.name == _USUAL_TABLE else real.with_name(f"{real.name}.locks")

    @property
    def store_file(self) -> Path | None:
        """The file of the job table; None if it is in PostgreSQL."""
        name = sqlite_file(self.database_url)
        return Path(name) if name else None

    def _stores(self) -> list[Path]:
        """The database, its log, and the backups next to it, which hold the same.

        Of a link, SQLite opens what it leads to, and keeps the log next to that.
        """
        named = self.store_file
        if named is None:
            return []
        stores = dict.fromkeys((named, Path(os.path.realpath(named))))
        return [*dict.fromkeys(path for store in stores for path in _copies(store))]

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, url: str, info: ValidationInfo) -> str:
        """A file by its whole path, as a daemon's working folder must not matter later."""
        if not url.startswith(("sqlite:///", "postgresql://", "postgresql+", "postgres://")):
            raise ValueError("write sqlite:///PATH or postgresql://…")
        url = url.replace("STATE_DIR", quote(str(info.data.get("state_dir", ""))))
        name = sqlite_file(url)
        if name is None:
            return url
        whole = str(files.absolute(name))
        # Names of further files begin with this one.
        if flaw := flaw_of_path(f"{whole}{'x' * 60}"):
            raise ValueError(f"its path {flaw}")
        return f"sqlite:///{quote(whole)}"


def _copies(store: Path) -> list[Path]:
    usual = [Path(f"{store}{end}") for end in ("", "-wal", "-shm", ".backup")]
    try:
        with os.scandir(store.parent) as entries:
            found = [Path(entry) for entry in entries if entry.name.startswith(store.name)]
    except OSError:
        found = []
    return usual + found
