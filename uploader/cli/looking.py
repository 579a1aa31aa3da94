"""Looking at a folder whose disk may not answer: the user sees that, and Ctrl-C ends it at once.

No signal that a program handles ends a call to a silent disk. So the folder is looked at in a
thread of its own, which ends with the process, unless the system lets nothing end the call.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import NamedTuple, TypeVar

from uploader.cli.terminal import print_note
from uploader.core.errors import NoThread
from uploader.runtime import SystemClock, processor_clock
from uploader.threads import LOOK, spawn

_TURN_S = 0.5
#: After this many turns the user sees it: a disk that was spun down takes nearly as long.
_SAYS_AFTER = 20
_CLOCK = SystemClock()
_A = TypeVar("_A")


def looking(path: Path, look: Callable[[], _A]) -> _A:
    """What ``look`` returns about the folder ``path``; raises what it raises.

    If it waits for ten seconds, and not for the job table, that is said.
    """
    found, ended, thread = Future[_A](), threading.Event(), list[_Thread]()

    def run() -> None:
        thread.append(_Thread(threading.get_ident(), processor_clock()))
        try:
            found.set_result(look())
        except BaseException as error:  # noqa: BLE001 - raised below
            found.set_exception(error)
        finally:
            ended.set()

    try:
        spawn(LOOK, run)
    except NoThread:
        return look()
    turns, used_s = 0, 0.0
    while not _CLOCK.wait(ended, _TURN_S):
        before_s, used_s = used_s, thread[0].used_s() if thread else 0.0
        turns = turns + 1 if used_s == before_s else 0
        if turns == _SAYS_AFTER and not (thread and _asks_the_store(thread[0].number)):
            print_note(f"the disk of {path} does not answer: Ctrl-C ends this command")
    return found.result()


class _Thread(NamedTuple):
    number: int
    used_s: Callable[[], float]


def _asks_the_store(thread: int) -> bool:
    from uploader.store.database.dialect import asks  # slow to import

    return asks(thread)
