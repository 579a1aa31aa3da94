"""What a transfer has seen of a write to its file, and nothing else shows, is kept in the row.

A file in a snapshot, or on a disk of a network, whose time was put back looks like the one that was
enqueued. Only who had it open has seen that its change time moved. After a power cut, a file of any
disk may have its old time and new bytes (docs/invariants.md §6).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from uploader.core.errors import UploaderError


@contextlib.contextmanager
def noted(note: Callable[[], None]) -> Iterator[None]:
    """Whatever error ends this, ``note`` is called before that is raised.

    If the row cannot be written, the transfer that sends the file next in this process does it.
    """
    try:
        yield
    except Exception:
        with contextlib.suppress(UploaderError):
            note()
        raise
