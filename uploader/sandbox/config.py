"""The switches of one world. All can be changed while it runs (`POST /_sandbox/config`)."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

_CHOICES: dict[str, tuple[Any, ...]] = {
    "url_kind": ("resumable", "session", "put", "refused"),
    "url_keys": ("name", "path"),
    "precondition_shape": ("status", "numeric", "named", "text", "http-412"),
    "bad_key_status": (401, 403),
    "ready_urls_status": (405, 409),
}
_NAME = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_NAMES = {
    "account_id": re.compile(_NAME),
    "object_prefix": re.compile(rf"({_NAME}(/{_NAME}){{0,3}})?"),
    "api_key": re.compile(r"[!-~]{8,200}"),
}
_TEN_YEARS_S = 10 * 365 * 86400
_LIMITS = {"chaos": (0, 1), "clock_skew_s": (-_TEN_YEARS_S, _TEN_YEARS_S)}


@dataclass
class Config:
    """How the stand-in behaves; each value follows the contract unless a test changes it."""

    api_key: str = field(default_factory=lambda: f"fw_sandbox_{secrets.token_hex(16)}")
    account_id: str = "sandbox"
    #: If False, every control-plane call is answered as if the key were wrong.
    key_valid: bool = True
    bad_key_status: int = 403
    #: What `enableResumableUpload: true` returns (docs/fireworks.md §2.3); `refused` looks like
    #: `resumable`, but the start is answered 403.
    url_kind: str = "resumable"
    #: Keys of filenameToSignedUrls: file names, or full object paths (docs/fireworks.md §2.2).
    url_keys: str = "name"
    url_life_s: int = 3600
    session_life_s: float = 7 * 86400
    #: A prefix of every object's path; if it changes at run time, new URLs point elsewhere.
    object_prefix: str = ""
    #: How many FAILED_PRECONDITION answers follow the last file, and what they look like
    #: (docs/fireworks.md §11).
    landing_polls: int = 2
    precondition_shape: str = "status"
    warnings: list[str] = field(default_factory=list)
    #: getUploadEndpoint on a READY model (docs/fireworks.md §13.4).
    ready_urls_status: int = 409
    #: Whether the model shows its huggingfaceFiles (a UI_ONLY field).
    shows_files: bool = True
    #: Control-plane calls per minute; 0 = no limit.
    requests_per_minute: int = 0
    #: Bytes per second of each connection, and of the link that all of them share; 0 = no limit.
    connection_bytes_per_s: int = 0
    link_bytes_per_s: int = 0
    #: x-goog-hash carries an md5 too (slow).
    md5: bool = False
    #: How far the services' clock runs ahead.
    clock_skew_s: float = 0.0
    #: Probability of a seeded, unscripted fault per exchange.
    chaos: float = 0.0

    def change(self, switches: Mapping[str, Any]) -> None:
        """Set all the switches or none. Raises ValueError for an unknown name or value."""
        for name, value in switches.items():
            if name not in _TYPES:
                raise ValueError(f"unknown switch {name!r}")
            if not _fits(value, _TYPES[name]) or not _is_allowed(name, value):
                raise ValueError(f"switch {name!r} cannot be {value!r:.200}")
        for name, value in switches.items():
            setattr(self, name, _TYPES[name](value))


#: Of each switch by its default, whatever it is set to by now.
_TYPES: dict[str, type] = {
    entry.name: type(getattr(Config(), entry.name)) for entry in fields(Config)
}


def _is_allowed(name: str, value: Any) -> bool:
    if name in _CHOICES:
        return value in _CHOICES[name]
    if name in _NAMES:
        return _NAMES[name].fullmatch(value) is not None
    if name == "warnings":
        return all(isinstance(entry, str) for entry in value)
    if isinstance(value, (int, float)):
        low, high = _LIMITS.get(name, (0, _TEN_YEARS_S))
        return low <= value <= high
    return True


def _fits(value: Any, wanted: type) -> bool:
    return type(value) is wanted or (wanted is float and type(value) is int)
