"""The limits in force: what users chose while workers run, else what the configuration says."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from uploader.core.errors import StoreError
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
    """``chosen`` by name, as written, over ``transfer``.

    Raises StoreError for a text that this program cannot read as a limit.
    """
    try:
        return InForce(
            bandwidth=parse_limit(chosen.get("bandwidth", transfer.bandwidth_limit)),
            files=auto_or_count(chosen.get("files", transfer.max_files)),
            jobs=count(chosen.get("jobs", transfer.max_jobs)),
        )
    except ValueError:
        message = "the state store holds a limit that cannot be read"
        hint = "`uploader limit default --files default --jobs default` forgets it"
        raise StoreError(message, hint=hint) from None
