"""The limits in force: what users chose while workers run, else what the configuration says."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from uploader.core.limits import InForce
from uploader.settings.schema import Transfer, auto_or_count, count
from uploader.settings.timetable import parse_limit

#: What each limit may be: raises ValueError, which shows the right form.
PARSERS: Mapping[str, Callable[[object], object]] = {
    "bandwidth": parse_limit,
    "files": auto_or_count,
    "jobs": count,
}
#: The setting that holds when nobody chose a limit.
KEYS: Mapping[str, str] = {
    "bandwidth": "transfer.bandwidth_limit",
    "files": "transfer.max_files",
    "jobs": "transfer.max_jobs",
}


def in_force(transfer: Transfer, chosen: Mapping[str, str]) -> InForce:
    """``chosen`` by name, as written, over ``transfer``, as far as it can be read."""
    chosen = readable(chosen)
    return InForce(
        bandwidth=parse_limit(chosen.get("bandwidth", transfer.bandwidth_limit)),
        files=auto_or_count(chosen.get("files", transfer.max_files)),
        jobs=count(chosen.get("jobs", transfer.max_jobs)),
    )


def readable(chosen: Mapping[str, str]) -> dict[str, str]:
    """Those of ``chosen`` that are limits: a text that this program never wrote chooses nothing."""
    return {name: text for name, text in chosen.items() if _is_limit(name, text)}


def _is_limit(name: str, text: str) -> bool:
    try:
        PARSERS[name](text)
    except (KeyError, ValueError):
        return False
    return True
