"""What a thread does with a socket ends in time, whatever it is."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from uploader import deadlines
from uploader.core.errors import NoThread
from uploader.deadlines import Deadline, LastResort

_PATIENCE_S = 60.0
Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    yield from pairs()


@pytest.fixture
def other() -> Iterator[Pair]:
    yield from pairs()


def pairs() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(_PATIENCE_S)
        theirs.settimeout(_PATIENCE_S)
        yield ours, theirs


def test_what_does_not_end_in_time_is_shut_down(pair: Pair) -> None:
    ours, theirs = pair
    with pytest.raises(TimeoutError, match="timed out"), Deadline(ours, 0.1):
        assert ours.recv(1) == b""  # and no time-out of the socket itself
    assert theirs.recv(1) == b""


def test_whatever_ends_late_is_a_time_out(pair: Pair) -> None:
    with pytest.raises(TimeoutError, match="timed out"):
        late(pair, ValueError("what a library makes of an end in the midst of a record"))


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_process_stays_what_it_is(pair: Pair, kind: type[BaseException]) -> None:
    with pytest.raises(kind):
        late(pair, kind())


def late(pair: Pair, error: BaseException) -> None:
    with Deadline(pair[0], 0.1):
        pair[0].recv(1)
        raise error


def test_what_ends_in_time_is_left_alone(pair: Pair, other: Pair) -> None:
    ours, theirs = pair
    with Deadline(ours, 0.2):
        pass
    with pytest.raises(TimeoutError), Deadline(other[0], 1):
        other[0].recv(1)
    ours.sendall(b"x")
    assert theirs.recv(1) == b"x"


def test_an_error_in_time_stays_what_it_is(pair: Pair) -> None:
    with pytest.raises(ValueError, match="ours"), Deadline(pair[0], _PATIENCE_S):
        raise ValueError("ours")


def test_each_has_its_own_time(pair: Pair, other: Pair) -> None:
    ours, theirs = pair
    with Deadline(ours, _PATIENCE_S):
        with pytest.raises(TimeoutError), Deadline(other[0], 0.1):
            other[0].recv(1)
        theirs.sendall(b"x")
        assert ours.recv(1) == b"x"


def test_without_a_thread_the_time_out_of_the_socket_holds(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> None:
        raise NoThread("this machine allows no more")

    ours, _ = pair
    monkeypatch.setattr(deadlines, "_WATCHER", deadlines._Watcher())
    with monkeypatch.context() as patched:
        patched.setattr(deadlines, "spawn", none)
        ours.settimeout(0.1)
        with pytest.raises(TimeoutError, match="timed out"), Deadline(ours, 0.0):
            ours.recv(1)
    ours.settimeout(_PATIENCE_S)
    with pytest.raises(TimeoutError), Deadline(ours, 0.1):  # there is one again
        assert ours.recv(1) == b""


def test_no_thread_is_kept_for_what_is_over(pair: Pair) -> None:
    watcher = deadlines._WATCHER
    with Deadline(pair[0], _PATIENCE_S):
        assert watcher._is_at_work
    pause, give_up = threading.Event(), time.monotonic() + _PATIENCE_S
    while watcher._is_at_work:
        assert time.monotonic() < give_up
        pause.wait(0.01)


def test_a_child_that_is_forked_keeps_its_own_deadlines(pair: Pair, other: Pair) -> None:
    with Deadline(pair[0], _PATIENCE_S):
        if (child := os.fork()) == 0:
            try:
                with Deadline(other[0], 0.1):
                    other[0].recv(1)
            except TimeoutError as late:
                os._exit(3 if late.errno else 4)
            os._exit(5)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3


_STUCK = """
import signal, socket
from uploader.deadlines import Deadline, end_at

def leave(number, _):
    print("left", flush=True)
    raise SystemExit(7)

signal.signal(signal.SIGTERM, leave)
end_at(signal.SIGTERM, end=lambda _: None)
signal.signal(signal.SIGUSR1, lambda *_: None)
ours, theirs = socket.socketpair()
with Deadline(ours, 600):
    print("stuck", flush=True)
    ours.recv(1)
print("cut", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_only_a_signal_that_ends_the_command_cuts(number: signal.Signals) -> None:
    command = [sys.executable, "-c", _STUCK]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "stuck\n"
        process.send_signal(number)
        if number == signal.SIGUSR1:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(3 * deadlines._TICK_S)
            process.terminate()
        assert process.wait(_PATIENCE_S) == 7
        assert process.stdout.read() == "left\n"


#: A call to a disk or a name server that does not answer lets no signal through, as if the main
#: thread blocked it.
_HANGING = """
import os, signal, socket, sys
from uploader import deadlines
from uploader.cli.leaving import obey_signals
from uploader.deadlines import LastResort
from uploader.remote.dial import addresses

def hang(*_, **__):
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    os.write(1, b"hangs\\n")
    os.read(0, 1)
    return [(2, 1, 6, "", ("127.0.0.1", 1))]

deadlines.PATIENCE_S = float(sys.argv[1])
obey_signals()
if sys.argv[2] == "disk":
    with LastResort():
        hang()
else:
    socket.getaddrinfo = hang
    addresses("name.example", 1)
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
print("goes on", flush=True)
"""


@contextlib.contextmanager
def hanging(patience_s: float, at: str = "disk") -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-c", _HANGING, str(patience_s), at]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"hangs\n"
            yield process
        finally:
            process.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="only there a signal is seen that waits")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("at", ["disk", "name server"])
def test_a_main_thread_that_hangs_does_not_outlive_a_signal_for_long(
    number: signal.Signals, at: str
) -> None:
    with hanging(1.0, at) as process:
        process.send_signal(number)
        assert process.wait(_PATIENCE_S) == 128 + number


@pytest.mark.skipif(sys.platform != "linux", reason="only there a signal is seen that waits")
def test_a_second_signal_ends_it_at_once() -> None:
    with hanging(10 * _PATIENCE_S) as process:
        ends_s = time.monotonic() + _PATIENCE_S
        while process.poll() is None:
            assert time.monotonic() < ends_s
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.1)
        assert process.returncode == 143


@pytest.mark.skipif(sys.platform != "linux", reason="only there a signal is seen that waits")
def test_a_main_thread_that_goes_on_has_its_signal_and_leaves_by_itself() -> None:
    with hanging(10 * _PATIENCE_S) as process:
        process.terminate()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(4 * deadlines._TICK_S)
        out, _ = process.communicate(b"x", _PATIENCE_S)
        assert (process.returncode, out) == (143, b"")


def test_in_a_program_that_is_not_ours_no_thread_watches() -> None:
    with LastResort():
        assert not deadlines._WATCHER._deadlines
