"""The shape of a code: its word, what it means, where it leads, what to do."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from uploader.core.job import Status


class Made(str):
    """What the hint says, if the line that raises the error has to write it."""

    __slots__ = ()


class Coded(StrEnum):
    """One code of a table of codes. ``leads_to`` is the job's status after it.

    It is None if no job is concerned.

    ``hint`` is what to do about it. If only the line that raises the error can write it, ``hint``
    is empty and ``made`` says what it will contain.
    """

    meaning: str
    leads_to: Status | None
    hint: str
    made: str

    def __new__(cls, code: str, leads_to: Status | None, meaning: str, hint: str | Made) -> Self:
        """A member: its word, and what stands in the other attributes."""
        member = str.__new__(cls, code)
        member._value_ = code
        member.leads_to = leads_to
        member.meaning = meaning
        member.hint = "" if isinstance(hint, Made) else hint
        member.made = hint if isinstance(hint, Made) else ""
        return member
