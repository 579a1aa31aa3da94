"""Faults by script: a JSON list that says which exchange goes wrong, and how.

    {"on": "put", "match": "model-00001", "nth": 2, "times": 1, "do": "cut", "at_byte": 700000}

`on` is the kind of exchange, `match` a substring of its name (`account/model` on the control
plane, `account/model/file` on storage). Matching exchanges are counted per fault: it fires from
the `nth` on, `times` times (0 = for ever). Every fault counts; the first that fires is applied.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

_CONTROL = ("create", "list", "get", "delete", "urls", "validate", "verify")
_STORAGE = ("start", "put", "query", "cancel")
_ANYWHERE = {"reset-before", "reset-after", "lost-answer", "status", "latency"}
_ONLY_ON = {
    "malformed-json": _CONTROL,
    "expired-url": ("start", "put"),
    "cut": ("put",),
    "stall": ("put",),
    "drip": ("put",),
    "short-308": ("put",),
    "no-range-308": ("put",),
    "no-finish": ("put",),
    "dead-session": ("put", "query"),
    "wrong-hash": ("put", "query"),
    "growing-ack": ("query",),
}
_CHAOS = ("reset-before", "reset-after", "lost-answer", "status")
_CHAOS_ON = {"put": (*_CHAOS, "cut", "short-308", "no-range-308", "no-finish")}
_CHAOS_REACH_BYTES = 1 << 20


class ScriptError(ValueError):
    """A fault that the sandbox does not know, or one on an exchange it cannot happen to."""


@dataclass
class Fault:
    """One fault, and how many matching exchanges it has seen.

    `at_byte` counts body bytes of the request; `seconds` is the length of a stall, a latency or,
    for `drip`, the pause before each block of 8 KiB; `retry_after` is in seconds; `body` is the
    answer's body as text or JSON. `dead-session` takes `status` 410 (default), 404 or 499.
    """

    on: str
    do: str
    match: str = ""
    nth: int = 1
    times: int = 1
    at_byte: int = 0
    status: int | None = None
    retry_after: float | None = None
    seconds: float = 1.0
    body: Any = None
    seen: int = 0

    def fires(self, on: str, name: str) -> bool:
        """Count a matching exchange; true if this is one to break."""
        if on != self.on or self.match not in name:
            return False
        self.seen += 1
        return self.seen >= self.nth and (not self.times or self.seen < self.nth + self.times)


class Script:
    """The faults of a world: scripted ones first, then, with `chaos`, seeded ones."""

    def __init__(self, faults: Iterable[dict[str, Any]] = (), seed: int = 0) -> None:
        self._faults = parse(faults)
        self._random = random.Random(f"faults {seed}")

    def add(self, faults: Iterable[dict[str, Any]]) -> None:
        """Append faults. Raises ScriptError, and then adds none."""
        self._faults += parse(faults)

    def clear(self) -> None:
        self._faults = []

    def take(self, on: str, name: str, chaos: float = 0.0) -> Fault | None:
        """The fault for this exchange; `chaos` is the probability of an unscripted one."""
        fired = [fault for fault in self._faults if fault.fires(on, name)]
        if fired:
            return fired[0]
        known = on in (*_CONTROL, *_STORAGE)
        if chaos and known and self._random.random() < chaos:
            return self._invent(on)
        return None

    def _invent(self, on: str) -> Fault:
        at_byte = self._random.randrange(_CHAOS_REACH_BYTES)
        return Fault(on=on, do=self._random.choice(_CHAOS_ON.get(on, _CHAOS)), at_byte=at_byte)


def parse(faults: Iterable[dict[str, Any]]) -> list[Fault]:
    """Faults from JSON objects. Raises ScriptError naming what is wrong."""
    return [_fault(entry) for entry in faults]


def read_script(source: str | Path | None) -> list[dict[str, Any]]:
    """The script from a file or from JSON text itself; none without a source.

    Raises ScriptError where it is not a JSON list, OSError where the file cannot be read.
    """
    if not source:
        return []
    text = str(source)
    if not text.lstrip().startswith("["):
        text = Path(text).read_text(encoding="utf-8")
    try:
        script = json.loads(text)
    except ValueError as error:
        raise ScriptError(f"the fault script is not JSON: {error}") from error
    if not isinstance(script, list):
        raise ScriptError("the fault script is not a JSON list")
    return script


def _fault(entry: Any) -> Fault:
    known = {field.name for field in fields(Fault)} - {"seen"}
    if not isinstance(entry, dict) or not {"on", "do"} <= entry.keys():
        raise ScriptError(f'a fault is an object with "on" and "do", not {entry!r}')
    if unknown := sorted(entry.keys() - known):
        raise ScriptError(f"unknown fields in a fault: {', '.join(unknown)}")
    fault = Fault(**entry)
    if not all(type(number) is int for number in (fault.nth, fault.times, fault.at_byte)):
        raise ScriptError("nth, times and at_byte are integers")
    if fault.do not in _ANYWHERE | _ONLY_ON.keys():
        raise ScriptError(f"unknown fault {fault.do!r}")
    if fault.on not in _ONLY_ON.get(fault.do, (*_CONTROL, *_STORAGE)):
        raise ScriptError(f"{fault.do!r} cannot happen on {fault.on!r}")
    return fault
