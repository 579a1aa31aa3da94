"""A file of a model is open in the process that sends it, and not in what that forks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.forking import Forking, forking
from uploader.core.errors import SourceUnreadable
from uploader.core.job import FileState
from uploader.model.fingerprint import fingerprint_of
from uploader.runtime import StopToken
from uploader.sources.local import LocalFolder

__all__ = ["forking"]

_OPEN = """
import contextlib
from uploader.core.job import FileState
from uploader.model.fingerprint import fingerprint_of
from uploader.sources.local import LocalFolder
facts = os.stat(os.path.join(place, "weights.bin"))
state = FileState(1, "weights.bin", facts.st_size, fingerprint_of(facts))
file = LocalFolder(Path(place)).open(state, StopToken())
def opened():
    for descriptor in range(256):
        with contextlib.suppress(OSError):
            yield os.path.samestat(os.fstat(descriptor), facts)
print("ready", flush=True)
os.waitpid(fork(lambda: print(sum(opened()), flush=True)), 0)
print(sum(opened()), file.block(0, 7).decode(), flush=True)
"""


def test_no_file_of_a_model_stays_open_in_a_child(
    tmp_path: Path, forking: Callable[[str, str], Forking]
) -> None:
    (tmp_path / "weights.bin").write_bytes(b"weights")
    parent = forking(_OPEN, str(tmp_path))
    assert parent.line() == "0"
    assert parent.line() == "1 weights"


def test_a_file_on_a_disk_that_does_not_answer_holds_up_no_child(tmp_path: Path) -> None:
    """Closing it may wait for that disk: the child would hang before it had begun."""
    now_s = 0.0
    stop = StopToken(boot_s=lambda: now_s)
    path = tmp_path / "weights.bin"
    path.write_bytes(b"weights")
    facts = path.stat()
    state = FileState(1, path.name, facts.st_size, fingerprint_of(facts))
    file = LocalFolder(tmp_path).open(state, stop)
    with stop.disk:
        now_s = 2.0
        file.let_go()
    assert file.block(0, 7) == b"weights"
    file.let_go()
    with pytest.raises(SourceUnreadable):
        file.check()
