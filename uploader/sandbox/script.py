"""Faults by script: a JSON list that says which exchange goes wrong, and how.

    {"on": "put", "match": "model-00001", "nth": 2, "times": 1, "do": "cut", "at_byte": 700000}

`on` is the kind of exchange, `match` a substring of its name (`account/model` on the control plane,
`account/model/file` on storage). Matching exchanges are counted per fault: it fires from the `nth`
on, `times` times (0 = always). `"from": 2` is short for `"nth": 2, "times": 0`. Every fault counts;
the first that fires is applied. The kinds are in `kinds`.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uploader.sandbox.kinds import ANYWHERE, COMMON, KINDS

_CHAOS = ("reset-before", "reset-after", "lost-answer", "status")
_CHAOS_ON = {"put": (*_CHAOS, "cut", "short-308", "no-range-308", "no-finish")}
_CHAOS_REACH_BYTES = 1 << 20
_LARGEST_SCRIPT_BYTES = 1 << 20
_SHOWN = 200
_LONGEST_S = 1e9
_LARGEST_NUMBER = 2**63 - 1
_LARGEST_SIZE_BYTES = 1 << 30


class ScriptError(ValueError):
    """The sandbox does not know the fault, or it cannot happen on that exchange."""


@dataclass
class Fault:
    """One fault, and how many matching exchanges it has seen.

    `at_byte` counts body bytes of the request (for `dead-session`, bytes of the object); `seconds`
    is the length of a stall or a latency, or the pause between two pieces of a slow body;
    `retry_after` is in seconds; `body` is the answer's body as text or JSON; `reason` becomes a
    google.rpc.ErrorInfo in its details; `size` is in bytes.
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
    reason: str = ""
    size: int = 64 << 20
    bytes_per_s: int = 1 << 20
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
        """Append faults. If it raises ScriptError, it adds none."""
        self._faults += parse(faults)

    def clear(self) -> None:
        """Forget every scripted fault; `chaos` is not touched."""
        self._faults = []

    def take(self, on: str, name: str, chaos: float = 0.0) -> Fault | None:
        """The fault for this exchange; `chaos` is the probability of an unscripted one."""
        fired = [fault for fault in self._faults if fault.fires(on, name)]
        if fired:
            return fired[0]
        if chaos and on in ANYWHERE and self._random.random() < chaos:
            return self._invent(on)
        return None

    def _invent(self, on: str) -> Fault:
        at_byte = self._random.randrange(_CHAOS_REACH_BYTES)
        return Fault(on=on, do=self._random.choice(_CHAOS_ON.get(on, _CHAOS)), at_byte=at_byte)


def parse(faults: Iterable[dict[str, Any]]) -> list[Fault]:
    """Faults from JSON objects. Raises ScriptError, which says what is allowed."""
    return [_fault(entry) for entry in faults]


def read_script(source: str | Path | None) -> list[dict[str, Any]]:
    """The script from a file or from JSON text itself; none without a source.

    Raises ScriptError if the file cannot be read, or if that is not a JSON list.
    """
    if not source:
        return []
    text = str(source)
    if not text.lstrip().startswith(("[", "{")):
        text = _file_text(Path(text))
    try:
        script = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ScriptError(f"the fault script is not JSON: {error}") from error
    if not isinstance(script, list):
        raise ScriptError("the fault script is not a JSON list: write [ and ] around one fault")
    return script


def _file_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_SCRIPT_BYTES + 1)
    except OSError as error:
        raise ScriptError(f"the fault script {path} cannot be read: {error.strerror}") from error
    if len(content) > _LARGEST_SCRIPT_BYTES:
        raise ScriptError(f"the fault script is larger than {_LARGEST_SCRIPT_BYTES:,} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise ScriptError("the fault script is not text in UTF-8") from error


def _fault(entry: Any) -> Fault:
    if not isinstance(entry, dict) or not {"on", "do"} <= entry.keys():
        raise ScriptError(f'a fault is an object with "on" and "do", not {_shown(entry)}')
    on, do = _name(entry["on"]), _name(entry["do"])
    if do not in KINDS:
        raise ScriptError(f"unknown fault {do!r}; the known ones are: {', '.join(KINDS)}")
    kind = KINDS[do]
    if on not in kind.on:
        raise ScriptError(f"{do!r} cannot happen on {on!r}; it can on: {', '.join(kind.on)}")
    taken = (*COMMON, *kind.fields)
    if others := sorted(str(name) for name in entry.keys() - {*taken}):
        raise ScriptError(
            f"{do!r} does not take {_cut(', '.join(others))}; it takes: {', '.join(taken)}"
        )
    fault = Fault(**{**_counters(entry), **_checked(entry), "on": on, "do": do})
    _check_text(entry)
    return fault


def _check_text(entry: Any) -> None:
    """What a fault says can be put on the wire: it is JSON, and its text is Unicode."""
    try:
        json.dumps(entry, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError):
        raise ScriptError(
            f"a fault is JSON without NaN or half characters: {_shown(entry)}"
        ) from None


def _name(value: Any) -> str:
    """The name of an exchange or a fault; `_` may replace `-`."""
    if not isinstance(value, str):
        raise ScriptError(f'"on" and "do" of a fault are names, not {_shown(value)}')
    return _cut(value).replace("_", "-")


def _counters(entry: Mapping[str, Any]) -> dict[str, int]:
    if "from" not in entry:
        return {}
    if {"nth", "times"} & entry.keys():
        raise ScriptError('"from" is short for "nth" and "times" and cannot be given with them')
    return {"nth": _number(entry, "from"), "times": 0}


_WHOLE = {"nth": 1, "times": 0, "at_byte": 0, "size": 0, "bytes_per_s": 1, "from": 1}


def _number(entry: Mapping[str, Any], field: str) -> int:
    value, least = entry[field], _WHOLE[field]
    if type(value) is not int or value < least:
        raise ScriptError(
            f'"{field}" of a fault is an integer from {least} on, not {_shown(value)}'
        )
    most = _LARGEST_SIZE_BYTES if field == "size" else _LARGEST_NUMBER
    if value > most:
        raise ScriptError(f'"{field}" of a fault is at most {most:,}')
    return value


def _checked(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a fault except the counters, each of its type."""
    values = {name: _number(entry, name) for name in _WHOLE.keys() & entry.keys() if name != "from"}
    for name in {"match", "reason"} & entry.keys():
        values[name] = _fitting(entry, name, "text", isinstance(entry[name], str))
    for name in {"seconds", "retry_after"} & entry.keys():
        value = entry[name]
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        values[name] = _fitting(
            entry, name, "a number from 0 on", number and 0 <= value < _LONGEST_S
        )
    if "status" in entry and entry["status"] is not None:
        legal = type(entry["status"]) is int and 200 <= entry["status"] < 600  # noqa: PLR2004
        values["status"] = _fitting(entry, "status", "an HTTP status from 200 to 599", legal)
    return values | ({"body": entry["body"]} if "body" in entry else {})


def _fitting(entry: Mapping[str, Any], field: str, what: str, fits: bool) -> Any:  # noqa: FBT001
    if not fits:
        raise ScriptError(f'"{field}" of a fault is {what}, not {_shown(entry[field])}')
    return entry[field]


def _shown(value: Any) -> str:
    try:
        return _cut(ascii(value))
    except (ValueError, RecursionError):  # a number of too many digits; too deep
        return "that"


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
