"""What a child that this process forks does not share: locks, connections, open files.

A program that imports us may fork, as a trainer's data loader does, and the children may outlive
it: for as long as they live, a lock would be held and a connection stay open
(docs/architecture.md §9).
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from typing import Protocol


class Unshared(Protocol):
    """What is open in this process, and must not stay open in a child that outlives it."""

    def let_go(self) -> None:
        """In the child: close it, and change nothing for the parent. Waits for nothing."""


#: No child is forked while this is held.
FORKING = threading.RLock()
_UNSHARED: weakref.WeakSet[Unshared] = weakref.WeakSet()


def keep_from_children(one: Unshared) -> None:
    """A forked child lets go of ``one``. That is held weakly, so keep a reference to it."""
    with FORKING:
        _UNSHARED.add(one)


def _let_go() -> None:
    try:
        for one in tuple(_UNSHARED):
            with contextlib.suppress(Exception):  # one failure must not keep the others open
                one.let_go()
    finally:
        FORKING.release()


os.register_at_fork(before=FORKING.acquire, after_in_parent=FORKING.release, after_in_child=_let_go)


class OurDescriptor:
    """A descriptor that somebody else opened and closes, and that leads nowhere in a child.

    There its number stays taken: objects that the child inherits may still write to it or close
    it, and must not reach a file that the child has opened since.
    """

    def __init__(self, descriptor: int) -> None:
        """Raises OSError if it is closed."""
        self._descriptor = descriptor
        self._opened = _what(descriptor)
        keep_from_children(self)

    def let_go(self) -> None:
        """As `Unshared.let_go`; does nothing if it was closed meanwhile. Raises OSError."""
        if _what(self._descriptor) != self._opened:
            return
        os.close(self._descriptor)  # first: the child may be out of descriptors
        nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        if nowhere != self._descriptor:
            os.dup2(nowhere, self._descriptor, inheritable=False)
            os.close(nowhere)


def _what(descriptor: int) -> tuple[int, int]:
    facts = os.fstat(descriptor)
    return facts.st_dev, facts.st_ino
