"""The JSON document of a diagnosis; see documents.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Literal

from typing_extensions import TypedDict

from uploader.core.probe import Item, Line


class Health(StrEnum):
    """How one thing stands."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of a diagnosis; ``hint`` is its cure, empty if it needs none."""

    name: str
    status: Health
    message: str
    hint: str = ""


class CheckJson(TypedDict):
    """One thing that was looked at."""

    name: Annotated[str, "What was looked at; stable."]
    status: Annotated[Literal["ok", "warn", "fail"], "How it stands."]
    message: Annotated[str, "What was found."]
    hint: Annotated[str, "What to do about it; empty if nothing is to be done."]


class DoctorDocument(TypedDict):
    """`uploader doctor --json`: a diagnosis."""

    schema: Annotated[Literal["uploader.doctor/1"], "The name and version of this document."]
    checks: Annotated[list[CheckJson], "What was looked at, in order."]


def doctor_document(checks: Sequence[Check]) -> DoctorDocument:
    """The document of these checks."""
    return {"schema": "uploader.doctor/1", "checks": [check_json(check) for check in checks]}


def check_json(check: Check) -> CheckJson:
    """One check."""
    return {
        "name": check.name,
        "status": check.status.value,
        "message": check.message,
        "hint": check.hint,
    }


class ProbeLineJson(TypedDict):
    """One thing that a live service was asked, and how its answer compares with what is assumed."""

    name: Annotated[str, "What was asked; stable."]
    match: Annotated[
        Literal["confirmed", "new", "contradicts"],
        "As assumed; otherwise, but uploader copes with it; otherwise.",
    ]
    seen: Annotated[str, "What was answered, without names, addresses and secrets."]
    assumes: Annotated[str, "What uploader assumes."]
    source: Annotated[str, "The section of the documentation that this rests on."]


class ProbeDocument(TypedDict):
    """`uploader doctor --probe --json`: what a service answered, and what is assumed."""

    schema: Annotated[Literal["uploader.probe/1"], "The name and version of this document."]
    lines: Annotated[list[ProbeLineJson], "What was asked, in order."]
    not_asked: Annotated[list[str], "The names of what could not be asked."]


def probe_line(line: Line, seen: str) -> ProbeLineJson:
    """One line; ``seen`` is what was seen, without names."""
    return {
        "name": line.item.label,
        "match": line.match.value,
        "seen": seen,
        "assumes": line.item.assumes,
        "source": line.item.source,
    }


def probe_document(lines: Sequence[ProbeLineJson]) -> ProbeDocument:
    """The document of these lines."""
    asked = {line["name"] for line in lines}
    missing = [item.label for item in Item if item.label not in asked]
    return {"schema": "uploader.probe/1", "lines": [*lines], "not_asked": missing}
