"""What an object computes once is computed without a lock: nobody waits for another's disk."""

from __future__ import annotations

import ast
import threading
from dataclasses import dataclass, field
from pathlib import Path

from uploader.core.once import once

ROOT = Path(__file__).parents[2] / "uploader"
_DEADLINE_S = 20.0


@dataclass(frozen=True)
class Slow:
    """``value`` is there once it may be; every reading of a disk is counted."""

    may: threading.Event = field(default_factory=threading.Event)
    read: list[int] = field(default_factory=list)
    begun: threading.Event = field(default_factory=threading.Event)

    @once
    def value(self) -> int:
        """What was read."""
        self.begun.set()
        assert self.may.wait(_DEADLINE_S)
        self.read.append(1)
        return len(self.read)


def test_what_is_computed_once_is_kept() -> None:
    slow = Slow()
    slow.may.set()
    assert [slow.value, slow.value] == [1, 1]
    assert slow.read == [1]


def test_an_object_that_waits_keeps_no_other_of_its_class_waiting() -> None:
    hangs, good = Slow(), Slow()
    threading.Thread(target=lambda: hangs.value, daemon=True).start()
    try:
        assert hangs.begun.wait(_DEADLINE_S)
        good.may.set()
        reader = threading.Thread(target=lambda: good.value, daemon=True)
        reader.start()
        reader.join(_DEADLINE_S)
        assert good.read
    finally:
        hangs.may.set()


def test_nothing_is_computed_once_in_another_way() -> None:
    """That of Python 3.11 has one lock for all objects of a class, and holds it meanwhile."""
    files = {
        path.relative_to(ROOT).as_posix()
        for path in ROOT.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if "cached_property" in {getattr(node, name, "") for name in ("attr", "name", "id")}
    }
    assert not files
