"""The JSON document of a diagnosis; see documents.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Literal

from typing_extensions import TypedDict


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
