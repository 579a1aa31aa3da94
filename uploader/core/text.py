"""Names, and numbers as people read them: the same in tables, logs and explanations."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime

from uploader.core.job import Event, Job

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_STEP = 1024.0
_MINUTE = 60
_HOUR = 3600
_DAY = 86400
#: Seconds: an answer that takes no longer is not worth mentioning.
_USUAL_S = 3
#: The system allows 4096, and a file system 255 in each part; the first leaves room for the names
#: of our own files in a folder.
_MAX_PATH_BYTES, _MAX_NAME_BYTES = 3900, 255
_UNCLEAN = {"Cc", "Cs", "Zl", "Zp"}  # control characters, lone surrogates (not UTF-8), line breaks


def flaw_of_path(path: str) -> str:
    """Why no file can have this path, to follow the word "it"; empty if one can."""
    raw = path.encode("utf-8", "surrogateescape")
    if b"\0" in raw:
        return "contains a NUL"
    too_long = len(raw) > _MAX_PATH_BYTES or max(map(len, raw.split(b"/"))) > _MAX_NAME_BYTES
    return "is too long" if too_long else ""


def clean(text: str) -> bool:
    """Whether ``text`` is one line of UTF-8 without control characters."""
    return text.isprintable() or not any(unicodedata.category(c) in _UNCLEAN for c in text)


def sendable(name: str) -> bool:
    """Whether JSON, a URL and an object's key can all carry the name unchanged."""
    return "\\" not in name and clean(name)


def shown(name: str) -> str:
    """The name, with every character that cannot be printed escaped."""
    if name.isprintable():
        return name
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def some(names: Sequence[str], most: int = 1, *, of: int | None = None) -> str:
    """``a, b and 3 more``: the first ``most`` of ``names``, and how many more there are.

    ``of`` counts them all if ``names`` holds only the first.
    """
    more = (len(names) if of is None else of) - most
    return ", ".join(names[:most]) + (f" {and_more(more)}" if more > 0 else "")


def and_more(count: int) -> str:
    """What ends a list from which ``count`` entries are left out."""
    return f"and {count:,} more"


def size(count: float) -> str:
    """``1536`` → ``1.5 KiB``."""
    for unit in _UNITS[:-1]:
        if abs(count) < _STEP:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= _STEP
    return f"{count:.1f} {_UNITS[-1]}"


def duration(seconds: float) -> str:
    """``3720`` → ``1h02m``."""
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole}s"
    if whole < _HOUR:
        return f"{whole // _MINUTE}m{whole % _MINUTE:02}s"
    if whole < _DAY:
        return f"{whole // _HOUR}h{whole % _HOUR // _MINUTE:02}m"
    return f"{whole // _DAY}d{whole % _DAY // _HOUR:02}h"


def percent(part: int, whole: int) -> str:
    """A percentage, rounded down: 100 % only if nothing is missing."""
    return f"{100 * part // whole if whole else 100}%"


def timestamp(at: datetime) -> str:
    """RFC 3339 in UTC, to the second."""
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def event_line(event: Event) -> str:
    """``job 12 stored: a.bin: 3.4 GiB``: an event in words, without its time."""
    where = f" {event.path}:" if event.path else ""
    return f"job {event.job_id} {event.kind}:{where} {event.message}"


def progress_line(job: Job, now: datetime) -> str:
    """``3/9 files, 43% sent, 31% of 131.4 GiB confirmed, 62.0 MiB/s, ETA 24m10s``."""
    return f"{job.files_stored}/{job.files_total} files, {bytes_line(job, now)}"


def bytes_line(job: Job, now: datetime) -> str:
    """`progress_line` without its files."""
    sent = percent(job.bytes_marked, job.bytes_total)
    done = percent(job.bytes_confirmed, job.bytes_total)
    parts = [f"{sent} sent", f"{done} of {size(job.bytes_total)} confirmed"]
    if job.rate_bps:
        parts.append(f"{size(job.rate_bps)}/s")
    if job.eta_s is not None:
        parts.append(f"ETA {duration(job.eta_s)}")
    if answer := awaited(job, now):
        parts.append(answer)
    return ", ".join(parts)


def awaited(job: Job, now: datetime) -> str:
    """``waiting for Fireworks' answer since 12:01:33Z, 95 s``; empty as long as that is usual."""
    since = job.awaiting_since
    waited_s = (now - since).total_seconds() if since else 0
    if since is None or waited_s < _USUAL_S:
        return ""
    whose = "Fireworks'" if job.asks_fireworks else "the storage service's"
    at = since.astimezone(UTC).strftime("%H:%M:%SZ")
    return f"waiting for {whose} answer since {at}, {duration(waited_s)}"
