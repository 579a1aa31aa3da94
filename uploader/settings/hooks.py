"""The hooks of the configuration: who is told of what, and how."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from uploader.core.addresses import parts_of
from uploader.core.distribution import install
from uploader.core.hooks import Occasion
from uploader.settings.section import Section, whole_path
from uploader.settings.units import parse_duration

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_KINDS = ("command", "webhook", "ping", "apprise")
_MAX_S = 3600.0
FORM = 'write it as [[hooks]] with name = "…", on = ["ready"] and one of ' + ", ".join(_KINDS)


def _named(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError("a name has up to 63 letters, digits, `-`, `_` and `.`")
    return text


def _occasions(value: object) -> object:
    known = ", ".join(Occasion)
    if not isinstance(value, list) or not value or not all(one in [*Occasion] for one in value):
        raise ValueError(f"`on` is a list of {known}")
    return value


def _argv(value: object) -> object:
    if value is not None and not (
        isinstance(value, list) and value and all(isinstance(one, str) and one for one in value)
    ):
        raise ValueError('`command` is a list: ["program", "argument"]; no shell reads it')
    return value


def _web(text: str | None) -> str | None:
    if text is None:
        return None
    parts = parts_of(text)
    if parts is None or parts.scheme not in ("https", "http") or not parts.hostname:
        raise ValueError("write a whole URL: https://example.org/…")
    if "@" in parts.netloc:
        raise ValueError("no user or password goes with a URL: it would not be sent")
    return text


def _files(value: object) -> object:
    listed: Sequence[object] = value if isinstance(value, list) else [value]
    return [whole_path(one) for one in listed if one]


def _bounded(seconds: float) -> float:
    if not 0 < seconds <= _MAX_S:
        raise ValueError("it may be up to 1h")
    return seconds


class Hook(Section):
    """One receiver. Exactly one of command, webhook, ping and apprise says how it is told.

    A URL may be a secret by itself, so none is ever shown.
    """

    name: Annotated[str, AfterValidator(_named)]
    on: Annotated[tuple[Occasion, ...], BeforeValidator(_occasions)]
    command: Annotated[tuple[str, ...] | None, BeforeValidator(_argv)] = Field(None, repr=False)
    webhook: Annotated[str | None, AfterValidator(_web)] = Field(None, repr=False)
    ping: Annotated[str | None, AfterValidator(_web)] = Field(None, repr=False)
    apprise: str | None = Field(None, repr=False)
    #: Several: each signs, so that a receiver can change from one to the next.
    secret_file: Annotated[tuple[Path, ...], BeforeValidator(_files)] = ()
    #: May the receiver have a private or link-local address?
    allow_private: bool = False
    timeout_s: Annotated[float, BeforeValidator(parse_duration), AfterValidator(_bounded)] = 60.0

    @property
    def kind(self) -> str:
        """The one of command, webhook, ping and apprise that is set."""
        return next(kind for kind in _KINDS if getattr(self, kind))

    @field_validator("secret_file")
    @classmethod
    def _readable(cls, files: tuple[Path, ...]) -> tuple[Path, ...]:
        for file in files:
            if not (os.path.isfile(file) and os.access(file, os.R_OK)):  # noqa: PTH113
                raise ValueError(f"secret_file {file} is not a file that can be read")
        return files

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if sum(bool(getattr(self, kind)) for kind in _KINDS) != 1:
            raise ValueError(FORM)
        if self.secret_file and not self.webhook:
            raise ValueError("`secret_file` goes with `webhook`")
        only_ping = {Occasion.STARTED, Occasion.HEARTBEAT} & set(self.on)
        if only_ping and not self.ping:
            raise ValueError("`started` and `heartbeat` go with `ping`")
        return self


def hooks_of(value: object) -> object:
    """Tables as they come from TOML. Raises ValueError for anything else, and for equal names."""
    if not isinstance(value, list | tuple):
        raise ValueError(FORM)  # noqa: TRY004 - pydantic takes a ValueError
    names = [one.get("name") for one in value if isinstance(one, dict)]
    if len(set(map(str, names))) != len(names):
        raise ValueError("two hooks have the same name")
    return value


def deaf(hooks: Iterable[Hook]) -> Iterator[str]:
    """A warning for each hook that could not be told anything, as this machine is now."""
    for hook in hooks:
        if hook.apprise and find_spec("apprise") is None:
            yield (
                f"hook {hook.name} cannot be told: apprise is not installed: {install('notify')}"
            )
        if hook.command and shutil.which(hook.command[0]) is None:
            yield f"hook {hook.name} cannot be told: its command is not a program that can be run"
