"""TOML + environment → one frozen Settings; the only reader of the environment.

Flag > environment > file > default; an empty variable counts as not set.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from uploader import files
from uploader.core import database_url
from uploader.core.api_key import flaw_of_api_key
from uploader.core.errors import UsageError
from uploader.core.redact import MASK, ApiKey, foreign_line, redact, remember
from uploader.settings.api import Api
from uploader.settings.hooks import FORM, Hook
from uploader.settings.places import CONFIG, config_folders
from uploader.settings.schema import (
    Fireworks,
    Given,
    History,
    Integrity,
    Lease,
    Log,
    Retry,
    Settings,
    Transfer,
    Validation,
)
from uploader.settings.section import Section
from uploader.settings.strangers import exposed, refuse_strangers_words
from uploader.settings.supervision import NAMES as FOR_THIS_PROCESS
from uploader.settings.supervision import Supervision, supervision

_MAX_FILE_BYTES = 1_000_000
#: Parsing a key with a hundred thousand parts would take minutes.
_MAX_LINE_BYTES = 2048
_MAX_WORDS_CHARS = 300


class _Entry(NamedTuple):
    """One setting, as written, and where."""

    key: str
    value: object
    origin: str


_SECTIONS: Mapping[str, type[Section]] = {
    "fireworks": Fireworks,
    "transfer": Transfer,
    "validation": Validation,
    "retry": Retry,
    "lease": Lease,
    "history": History,
    "integrity": Integrity,
    "log": Log,
    "api": Api,
}
_API_KEY = "fireworks.api_key"
_TOP = ("state_dir", "database_url", "database_secret_file")
#: Tables of the file; no variable can hold one.
HOOKS = "hooks"


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
#: Names that other tools use (docs/fireworks.md §7; curl, requests, OpenSSL), weakest first.
_ALIASES: dict[str, str] = {
    "FIREWORKS_API_BASE": "fireworks.base_url",
    "FIREWORKS_API_BASE_URL": "fireworks.base_url",
    "FIREWORKS_BASE_URL": "fireworks.base_url",
    "FIREWORKS_ACCOUNT_ID": "fireworks.account_id",
    "SSL_CERT_FILE": "fireworks.ca_bundle",
    "CURL_CA_BUNDLE": "fireworks.ca_bundle",
    "REQUESTS_CA_BUNDLE": "fireworks.ca_bundle",
}
#: What is read, or believed, at these.
_PATHS = (
    "database_secret_file",
    "fireworks.api_key_file",
    "fireworks.ca_bundle",
    "api.tls_cert_file",
    "api.tls_key_file",
)
_WHOLE = "write the whole path"
_CONFIG = "UPLOADER_CONFIG"
_IN_A_SECTION = tuple(f"UPLOADER_{section.upper()}__" for section in _SECTIONS)
#: What Kubernetes and Docker set for a service or container called `uploader…`.
_SERVICE_LINK = re.compile(r"UPLOADER_(?:\w+_)?(?:SERVICE_(?:HOST|PORT)|PORT|NAME|ENV)(?:_|$)")
#: Values that no message contains: a password, a key, a command line that may have one.
_SECRET = frozenset({_API_KEY, "database_url", "fireworks.api_key_command"})


def load(config: Path | None = None, environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings of this process; ``config`` is the file that the flag gives.

    Raises UsageError for an unknown key, an unknown variable of a known section, a bad value, a
    file that cannot be read.
    """
    file = find_config(config, environ)
    document, facts = _document(file) if file else ({}, None)
    words = [*_from_file(document, file), *_from_environment(environ)]
    for word in words:
        if word.key not in (*KEYS, HOOKS) and not isinstance(word.value, ApiKey):
            raise _unknown("setting", word.key, word.origin, [*KEYS, HOOKS, *_SECTIONS])
    given = {word.key: Given(_shown(word), word.origin) for word in words}
    tree: dict[str, Any] = {
        **{section: {} for section in _SECTIONS},
        "config_file": file,
        "credentials": environ.get("CREDENTIALS_DIRECTORY") or None,
        "given": given,
        "warnings": tuple(_strangers(environ)),
    }
    for key, value, _ in words:
        section, _, name = key.rpartition(".")
        (tree[section] if section else tree)[name] = value
    try:
        settings = Settings.model_validate(tree)
    except ValidationError as problem:
        raise _refused(problem, given) from None
    if facts:
        refuse_strangers_words(settings, facts)
    return settings.model_copy(update={"warnings": (*settings.warnings, *exposed(settings))})


def for_others(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment for another program: without what only this one has business with."""
    private = ("FIREWORKS_API_KEY", "UPLOADER_DATABASE_URL", *FOR_THIS_PROCESS)
    return {name: value for name, value in environ.items() if name not in private}


def relative(settings: Settings) -> Iterator[str]:
    """A warning for each path that depends on the folder a command starts in."""
    for key in _PATHS:
        given = settings.given.get(key)
        if given is not None and not given.text.startswith(("/", "~")):
            another = "in another folder, that is another file"
            yield f"{key} {given.text} is relative: {another}; {_WHOLE}"
    given = settings.given.get("state_dir")
    if given is not None and not given.text.startswith(("/", "~")):
        yield _relative("state_dir", given.text, settings.state_dir)
    given = settings.given.get("database_url")
    file = database_url.sqlite_file(given.text) if given else None
    if given and file and not file.startswith(("/", "STATE_DIR")):
        found = database_url.sqlite_file(settings.database_url)
        yield _relative("database_url", given.text, Path(found or ""))


def _relative(key: str, text: str, found: Path) -> str:
    return (
        f"{key} {text} is relative: from this folder it is {found}, and from another folder"
        f" commands and workers use another store; {_WHOLE}"
    )


def supervised(environ: Mapping[str, str] = os.environ) -> Supervision:
    """How whoever started this process wants to be told how it is doing."""
    return supervision(environ)


def wants_colour(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether a terminal of this process is to be coloured (https://no-color.org)."""
    return not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def with_listen(settings: Settings, listen: str) -> Settings:
    """``settings`` with the flag ``listen`` in place of `api.listen`. Raises UsageError."""
    return with_flags(settings, "api", listen=listen)


def with_flags(settings: Settings, section: str, **flags: str | None) -> Settings:
    """``settings`` with each flag that is not None in place of the section's. Raises UsageError."""
    given = {name: text for name, text in flags.items() if text is not None}
    part: Section = getattr(settings, section)
    try:
        found = type(part).model_validate({**part.model_dump(), **given})
    except ValidationError as problem:
        told = {name: Given(redact(text), "the flag") for name, text in given.items()}
        raise _refused(problem, told) from None
    return settings.model_copy(update={section: found})


def find_config(config: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The file in use: the flag's, the environment's, the user's, the machine's, or none.

    Raises UsageError if a file was named and is not there.
    """
    named = config or environ.get(_CONFIG)
    if named:
        file = files.absolute(os.path.expanduser(named))  # noqa: PTH111 - as in _path
        if not os.path.isfile(file):  # noqa: PTH113 - Path's raises if no file can have such a name
            hint = "check `config`" if config else f"check {_CONFIG}"
            raise UsageError(f"there is no configuration file {file}", hint=hint)
        return file
    usual = [folder / CONFIG for folder in config_folders()]
    # A file in a folder that we may not enter counts as absent; `Path.is_file` would raise.
    return next((file for file in usual if os.path.isfile(file)), None)  # noqa: PTH113


def describe(settings: Settings) -> list[tuple[str, str, str]]:
    """(name, value, origin) of every setting; origin is `default`, a file, or a variable."""
    return [
        (key, _in_force(settings, key), settings.given.get(key, Given("", "default")).origin)
        for key in (*KEYS, HOOKS, _API_KEY)
    ]


def _from_file(document: Mapping[str, Any], file: Path | None) -> Iterator[_Entry]:
    for name, value in document.items():
        if name not in _SECTIONS:
            yield _Entry(name, value, str(file))
        elif isinstance(value, dict):
            yield from (_Entry(f"{name}.{key}", one, str(file)) for key, one in value.items())
        else:
            raise UsageError(f"{file}: '{name}' is a section", hint=f"write it as [{name}]")


def _document(file: Path) -> tuple[dict[str, Any], os.stat_result]:
    """What the file says, and the facts of the file that said it."""
    try:
        text, facts = files.read(file, _MAX_FILE_BYTES + 1)
        if len(text) > _MAX_FILE_BYTES:
            raise UsageError(
                f"{file} is too large for a configuration", hint="is this the right file?"
            )
        if max(map(len, text.splitlines()), default=0) > _MAX_LINE_BYTES:
            raise UsageError(
                f"{file} has a line that is too long for a setting",
                hint="is this the right file?",
            )
        return tomllib.loads(text.decode("utf-8-sig")), facts
    except OSError as problem:
        hint = "let this user read it"
        raise UsageError(f"{file} cannot be read: {problem.strerror}", hint=hint) from None
    except ValueError as problem:  # from tomllib or the decoder
        why = foreign_line(str(problem), _MAX_WORDS_CHARS)
        raise UsageError(f"{file} is not TOML: {why}", hint="fix it") from None
    except RecursionError:
        raise UsageError(f"{file} is not TOML: it nests too deeply", hint="fix it") from None


def _from_environment(environ: Mapping[str, str]) -> Iterator[_Entry]:
    for name in environ:
        if name.startswith(_IN_A_SECTION) and name not in VARIABLES:
            raise _unknown("variable", name, "the environment", list(VARIABLES))
    for name, key in (_ALIASES | VARIABLES).items():
        if environ.get(name):
            yield _Entry(key, environ[name], name)
    key = environ.get("FIREWORKS_API_KEY", "").strip(" \t")
    if key:
        if flaw := flaw_of_api_key(key):
            message = f"FIREWORKS_API_KEY cannot be an API key: it {flaw}"
            raise UsageError(message, hint="set it to the key alone, one word")
        remember(found := ApiKey(key))
        yield _Entry(_API_KEY, found, "FIREWORKS_API_KEY")


def _strangers(environ: Mapping[str, str]) -> Iterator[str]:
    """A warning for each variable that looks like a setting: it may be misspelled."""
    for name in environ:
        known = name in VARIABLES or name == _CONFIG
        if name.startswith("UPLOADER_") and not known and not _SERVICE_LINK.match(name):
            near = _nearest(name, list(VARIABLES))
            yield f"{name} is not a setting and changes nothing" + (near and f"; {near}")


def _unknown(what: str, name: str, origin: str, known: list[str]) -> UsageError:
    hint = _nearest(name, known) or "config.example.toml lists every setting"
    return UsageError(f"unknown {what} {name} in {origin}", hint=hint)


def _nearest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name[:_MAX_WORDS_CHARS], known, n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else ""


def _refused(problem: ValidationError, given: Mapping[str, Given]) -> UsageError:
    first = problem.errors(include_url=False, include_input=False, include_context=False)[0]
    place = [str(part) for part in first["loc"]]
    if place[0] == HOOKS:
        number = f" {int(place[1]) + 1}" if len(place) > 1 else "s"
        return _refused_hook(f"hook{number} in {given[HOOKS].origin}", first, ".".join(place[2:]))
    key = ".".join(place[: 2 if place[0] in _SECTIONS else 1])
    text, origin = given.get(key, Given("its default", "default"))
    message = f"{key} cannot be {text} (from {origin})"
    return UsageError(message, hint=first["msg"].removeprefix("Value error, "))


def _refused_hook(which: str, flaw: Mapping[str, Any], field: str) -> UsageError:
    if flaw["type"] == "extra_forbidden":
        known = [info.alias or name for name, info in Hook.model_fields.items()]
        hint = _nearest(field, known) or f"a hook has {', '.join(known)}"
        return UsageError(f"{which}: unknown field {field}", hint=hint)
    if flaw["type"] == "missing":
        return UsageError(f"{which}: {field} is missing", hint=FORM)
    hint = flaw["msg"].removeprefix("Value error, ")
    return UsageError(f"{which}: {field or 'wrong'}", hint=hint)


def _shown(word: _Entry) -> str:
    if word.key == "database_url" and str(word.value).startswith("sqlite:///"):
        return database_url.shown(str(word.value))
    has_password = word.key == "fireworks.base_url" and "@" in str(word.value)
    if word.key in (*_SECRET, HOOKS) or has_password:
        return MASK
    return redact(str(word.value))


def _in_force(settings: Settings, key: str) -> str:
    """The value in use; one with a unit is shown as it was written."""
    if key == HOOKS:
        return ", ".join(hook.name for hook in settings.hooks)
    section, _, name = KEYS.get(key, key).rpartition(".")
    model = getattr(settings, section) if section else settings
    value = getattr(model, name)
    if key == "database_url":
        return database_url.shown(value)
    if key in _SECRET:
        return "set" if value else "not set"
    if key.rpartition(".")[2] != name:
        default = str(type(model).model_fields[name].default)
        return settings.given.get(key, Given(default, "")).text
    if isinstance(value, tuple):
        return os.pathsep.join(map(str, value))
    return "" if value is None else str(value)
