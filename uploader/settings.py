"""TOML + environment → one frozen Settings; the only reader of the environment (design §6).

Flag > environment > file > default; an empty variable counts as not set. An attribute is named
as its key and, where it has one, its unit: `chunk_size` → `transfer.chunk_size_bytes`. Sizes
are bytes, durations seconds, rates bytes per second. Defaults are written as people write them.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from urllib.parse import quote, urlsplit

import platformdirs
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    InstanceOf,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from uploader.core.errors import UsageError
from uploader.core.redact import MASK, ApiKey, redact
from uploader.core.resumable import GRANULE

SYSTEM_CONFIG = Path("/etc/uploader/config.toml")

_SIZE = re.compile(r"(\d{1,20}(?:\.\d{1,9})?)\s*(?:([kKMGT])(i?)B|B)?", re.ASCII)
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
_DURATION = re.compile(r"(\d{1,12}(?:\.\d{1,9})?)\s*(ms|min|[smhd])\s*", re.ASCII)
_MOST = 256
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def parse_size(value: object) -> int:
    """Bytes from 262144, "64MiB", "1.5 GB"; raises ValueError."""
    if type(value) is int:
        return value
    found = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        raise ValueError('write a size like "64MiB" (powers of 1024) or "64MB" (of 1000)')
    unit = (1024 if found[3] else 1000) ** _POWERS[(found[2] or "").upper()]
    return int(Decimal(found[1]) * unit)


def parse_rate(value: object) -> int | None:
    """Bytes per second from "20MB/s", None from "off" and 0; raises ValueError."""
    text = value.strip().removesuffix("/s") if isinstance(value, str) else value
    if text == "off":
        return None
    try:
        return parse_size(text) or None
    except ValueError:
        raise ValueError('write a rate like "20MB/s", or "off"') from None


def parse_duration(value: object) -> float:
    """Seconds from 30, "30s", "500ms", "1h30m"; raises ValueError."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    text = value.strip() if isinstance(value, str) else ""
    if text.isdecimal():
        return float(text)
    parts = _DURATION.findall(text)
    if not parts or _DURATION.sub("", text):
        raise ValueError('write a duration like "30s", "90min" or "1h30m"')
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def _within(low: str, high: str, parse: Callable[[object], float | None]) -> AfterValidator:
    def check(value: float | None) -> float | None:
        if value is not None and not (parse(low) or 0) <= value <= (parse(high) or 0):
            raise ValueError(f"it may be from {low} to {high}")
        return value

    return AfterValidator(check)


def _granular(size_bytes: int) -> int:
    if size_bytes % GRANULE:
        raise ValueError("it must be a multiple of 256KiB, which the storage service persists in")
    return size_bytes


def _count(value: object) -> int:
    text = str(value).strip() if type(value) in (int, str) else ""
    if not re.fullmatch(r"[0-9]{1,3}", text) or not 1 <= int(text) <= _MOST:
        raise ValueError(f"write a whole number from 1 to {_MOST}")
    return int(text)


def _text(value: object) -> object:
    return value.strip() or None if isinstance(value, str) else value


def _path(value: object) -> object:
    """An absolute path, so that a daemon's working folder does not matter later."""
    text = _text(value)
    if not isinstance(text, str):
        return value if isinstance(value, Path) else text
    expanded = os.path.expanduser(text)  # noqa: PTH111 - Path's raises where nobody has a home
    if expanded.startswith("~"):
        raise ValueError("there is no such home folder: write the whole path")
    return Path(expanded).absolute()


def _base_url(text: str) -> str:
    """Without the parts some tools append (contract fireworks §7); https but on loopback."""
    found = urlsplit(text.strip())  # its ValueError says what is wrong
    if found.username or found.password or found.query or found.fragment:
        raise ValueError("write only scheme, host and port: https://api.fireworks.ai")
    if not found.hostname or (found.port or 1) < 1:
        raise ValueError("write a whole URL: https://api.fireworks.ai")
    if found.scheme != "https" and not (found.scheme == "http" and _is_loopback(found.hostname)):
        raise ValueError("only https keeps the API key safe; http is for this machine alone")
    path = re.sub(r"(?:/+inference)?/+v1$", "", found.path.rstrip("/"))
    return f"{found.scheme}://{found.netloc.lower()}{path.rstrip('/')}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _account_id(text: str | None) -> str | None:
    if text is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", text):
        raise ValueError("it is the short id in accounts/ID, no e-mail address")
    return text


Count = Annotated[int, BeforeValidator(_count)]
Text = Annotated[str | None, BeforeValidator(_text)]
OptionalPath = Annotated[Path | None, BeforeValidator(_path)]
Duration = Annotated[float, BeforeValidator(parse_duration)]


def _written(text: str) -> Any:
    """A default in the words of config.example.toml; validation makes a value of it."""
    return Field(text)


class _Section(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        hide_input_in_errors=True,
        alias_generator=lambda name: re.sub(r"_(?:bytes|bps|s)$", "", name),
    )


class Fireworks(_Section):
    """The service. Order of keys: the environment's, the file's, the command's, auth.ini's."""

    base_url: Annotated[str, AfterValidator(_base_url)] = "https://api.fireworks.ai"
    account_id: Annotated[Text, AfterValidator(_account_id)] = None
    api_key_file: OptionalPath = None
    api_key_command: Text = Field(default=None, repr=False)
    api_key: InstanceOf[ApiKey] | None = Field(default=None, exclude=True)


class Transfer(_Section):
    max_jobs: Count = 2
    max_files: Count = 4
    chunk_size_bytes: Annotated[
        int,
        BeforeValidator(parse_size),
        _within("256KiB", "5TiB", parse_size),
        AfterValidator(_granular),
    ] = _written("256MiB")
    bandwidth_limit_bps: Annotated[
        int | None, BeforeValidator(parse_rate), _within("8KiB/s", "1TB/s", parse_rate)
    ] = _written("off")


class Validation(_Section):
    poll_interval_s: Annotated[Duration, _within("10ms", "1h", parse_duration)] = _written("30s")
    deadline_s: Annotated[Duration, _within("1s", "30d", parse_duration)] = _written("60min")


class Retry(_Section):
    initial_delay_s: Annotated[Duration, _within("1ms", "1h", parse_duration)] = _written("1s")
    max_delay_s: Annotated[Duration, _within("1ms", "1d", parse_duration)] = _written("60s")

    @field_validator("max_delay_s")
    @classmethod
    def _not_below_the_first(cls, value: float, info: ValidationInfo) -> float:
        if value < info.data.get("initial_delay_s", 0.0):
            raise ValueError("it may not be shorter than retry.initial_delay")
        return value


class Lease(_Section):
    duration_s: Annotated[Duration, _within("1s", "1h", parse_duration)] = _written("60s")


class Given(NamedTuple):
    """A setting somebody made: the words, masked where secret, and where they stand."""

    text: str
    origin: str


class Settings(_Section):
    """Everything configurable, and where each of it comes from."""

    state_dir: Annotated[Path, BeforeValidator(_path)] = Field(
        default_factory=lambda: platformdirs.user_state_path("uploader")
    )
    database_url: str = Field("sqlite:///STATE_DIR/uploader.db", repr=False)
    fireworks: Fireworks = Fireworks()
    transfer: Transfer = Transfer()
    validation: Validation = Validation()
    retry: Retry = Retry()
    lease: Lease = Lease()

    auth_ini: Annotated[Path, BeforeValidator(_path)] = _written("~/.fireworks/auth.ini")
    config_file: Path | None = Field(default=None, exclude=True)
    given: Mapping[str, Given] = Field(default_factory=dict, exclude=True, repr=False)

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, url: str, info: ValidationInfo) -> str:
        if not url.startswith(("sqlite:///", "postgresql://", "postgresql+", "postgres://")):
            raise ValueError("write sqlite:///PATH or postgresql://…")
        return url.replace("STATE_DIR", quote(str(info.data.get("state_dir", ""))))


class _Words(NamedTuple):
    """One key somebody set, as it stands there."""

    key: str
    value: object
    origin: str


_SECTIONS: Mapping[str, type[_Section]] = {
    "fireworks": Fireworks,
    "transfer": Transfer,
    "validation": Validation,
    "retry": Retry,
    "lease": Lease,
}
_API_KEY = "fireworks.api_key"
_TOP = ("state_dir", "database_url")


def _attributes() -> Iterator[tuple[str, str]]:
    yield from ((key, key) for key in _TOP)
    for section, model in _SECTIONS.items():
        for name, field in model.model_fields.items():
            if not field.exclude:
                yield f"{section}.{field.alias}", f"{section}.{name}"


#: Every key a file or the environment may set, and the attribute it sets.
KEYS: Mapping[str, str] = dict(_attributes())
#: The environment's name of every key.
VARIABLES: dict[str, str] = {f"UPLOADER_{k.upper().replace('.', '__')}": k for k in KEYS}
#: Names other Fireworks tools use (contract fireworks §7), the weakest first.
_ALIASES: dict[str, str] = {
    "FIREWORKS_API_BASE": "fireworks.base_url",
    "FIREWORKS_API_BASE_URL": "fireworks.base_url",
    "FIREWORKS_BASE_URL": "fireworks.base_url",
    "FIREWORKS_ACCOUNT_ID": "fireworks.account_id",
}
_CONFIG = "UPLOADER_CONFIG"
#: Never in a message: a password, a key, a command line that may hold one.
_SECRET = frozenset({_API_KEY, "database_url", "fireworks.api_key_command"})


def load(config: Path | None = None, environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings of this process; ``config`` is the flag's file.

    Raises UsageError for an unknown key or variable, a bad value, a file that cannot be read.
    """
    file = find_config(config, environ)
    words = [*(_from_file(file) if file else ()), *_from_environment(environ)]
    for word in words:
        if word.key not in KEYS and not isinstance(word.value, ApiKey):
            raise _unknown("setting", word.key, word.origin, [*KEYS, *_SECTIONS])
    given = {word.key: Given(_shown(word), word.origin) for word in words}
    tree: dict[str, Any] = {"config_file": file, "given": given}
    for key, value, _ in words:
        section, _, name = key.rpartition(".")
        (tree.setdefault(section, {}) if section else tree)[name] = value
    try:
        return Settings.model_validate(tree)
    except ValidationError as problem:
        raise _refused(problem, given) from None


def find_config(config: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The file in force: the flag's, the environment's, the user's, the machine's, or none.

    Raises UsageError where one was named and is not there.
    """
    named = config or environ.get(_CONFIG)
    if named:
        file = Path(os.path.expanduser(named)).absolute()  # noqa: PTH111 - as in _path
        if not file.is_file():
            hint = "check --config" if config else f"check {_CONFIG}"
            raise UsageError(f"there is no configuration file {file}", hint=hint)
        return file
    usual = (platformdirs.user_config_path("uploader") / "config.toml", SYSTEM_CONFIG)
    return next((file for file in usual if os.path.isfile(file)), None)  # noqa: PTH113 - no raise


def describe(settings: Settings) -> list[tuple[str, str, str]]:
    """(name, value, origin) of every setting; origin is `default`, a file, or a variable."""
    return [
        (key, _in_force(settings, key), settings.given.get(key, Given("", "default")).origin)
        for key in (*KEYS, _API_KEY)
    ]


def _from_file(file: Path) -> Iterator[_Words]:
    try:
        document = tomllib.loads(file.read_text("utf-8"))
    except OSError as problem:
        hint = "let this user read it"
        raise UsageError(f"{file} cannot be read: {problem.strerror}", hint=hint) from None
    except ValueError as problem:  # TOML's and UTF-8's own
        raise UsageError(f"{file} is not TOML: {redact(str(problem))}", hint="correct it") from None
    for name, value in document.items():
        if name not in _SECTIONS:
            yield _Words(name, value, str(file))
        elif isinstance(value, dict):
            yield from (_Words(f"{name}.{key}", one, str(file)) for key, one in value.items())
        else:
            raise UsageError(f"{file}: '{name}' is a section", hint=f"write it as [{name}]")


def _from_environment(environ: Mapping[str, str]) -> Iterator[_Words]:
    for name in environ:
        if name.startswith("UPLOADER_") and name not in VARIABLES and name != _CONFIG:
            raise _unknown("variable", name, "the environment", list(VARIABLES))
    for name, key in (_ALIASES | VARIABLES).items():
        if environ.get(name):
            yield _Words(key, environ[name], name)
    api_key = environ.get("FIREWORKS_API_KEY", "").strip()
    if api_key:
        if not re.fullmatch(r"[!-~]+", api_key):  # a header carries nothing else
            hint = "copy it again: one word of ASCII"
            raise UsageError("FIREWORKS_API_KEY cannot be an API key", hint=hint)
        yield _Words(_API_KEY, ApiKey(api_key), "FIREWORKS_API_KEY")


def _unknown(what: str, name: str, origin: str, known: list[str]) -> UsageError:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else "config.example.toml lists every setting"
    return UsageError(f"unknown {what} {name} in {origin}", hint=hint)


def _refused(problem: ValidationError, given: Mapping[str, Given]) -> UsageError:
    first = problem.errors(include_url=False, include_input=False, include_context=False)[0]
    place = [str(part) for part in first["loc"]]
    key = ".".join(place[: 2 if place[0] in _SECTIONS else 1])
    text, origin = given.get(key, Given("its default", "default"))
    message = f"{key} cannot be {text} (from {origin})"
    return UsageError(message, hint=first["msg"].removeprefix("Value error, "))


def _shown(word: _Words) -> str:
    has_password = word.key == "fireworks.base_url" and "@" in str(word.value)
    if word.key in _SECRET or has_password:
        return MASK
    return redact(str(word.value))


def _in_force(settings: Settings, key: str) -> str:
    """A value as it is now; one with a unit as it was written."""
    section, _, name = KEYS.get(key, key).rpartition(".")
    model = getattr(settings, section) if section else settings
    value = getattr(model, name)
    if key == "database_url":
        # An @ behind the ? may be part of a password in either place: nothing is shown then.
        return re.sub(r"(?<=://)(?:.*\?.*@.*|.*(?=@))|(?<=\?).*", MASK, value)
    if key in _SECRET:
        return "set" if value else "not set"
    if key.rpartition(".")[2] != name:
        default = str(type(model).model_fields[name].default)
        return settings.given.get(key, Given(default, "")).text
    return "" if value is None else str(value)
