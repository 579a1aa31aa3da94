"""What `perf script` says, and which kind of work each of its samples was."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

#: Samples for each second of CPU.
HZ = 2000
_KERNEL_FROM = 1 << 63

COPIES = "kernel: copies"
PACING = "kernel: the timer that paces TCP (BBR)"
THREADS = "kernel: waking and awaiting threads (futex)"
WAKING = "kernel: waking the receiver, scheduling"
REST = "kernel: TCP, page cache, other system calls"
TLS = "TLS (libssl, libcrypto)"
CRC32C = "CRC32C"
SHA256 = "SHA-256 (libcrypto)"
SQLITE = "SQLite"
INTERPRETER = "the interpreter"
LIBC = "libc and libcurl"
OTHER = "other libraries"
KERNEL = (COPIES, PACING, THREADS, WAKING, REST)
KINDS = (*KERNEL, TLS, CRC32C, SHA256, SQLITE, INTERPRETER, LIBC, OTHER)

#: The two groups of threads.
SENDER, OTHERS = "the thread that sends", "other threads"
#: Seconds of CPU by group of threads and kind.
Times = Mapping[tuple[str, str], float]

_FRAME = re.compile(r"\s+([0-9a-f]+) (.+?) \((.*)\)$")
_COPY = re.compile(r"copy_(to|from)_(iter|user)$|^copy_user_|^rep_movs")
_WAKE = re.compile(r"wake_?up|^(__)?schedule|^sock_def_readable|^finish_task_switch|^ttwu")
#: The lock is left by `hrtimer_start_range_ns`, which the stack lacks: the lock has no frame.
_TIMER_STARTS = {
    ("_raw_spin_unlock_irqrestore", "tcp_write_xmit"),
    ("hrtimer_start_range_ns", "tcp_write_xmit"),
}
_TIMER_ENDS = {"hrtimer_run_softirq", "tcp_pace_kick"}
_INTERRUPTED = ("handle_softirqs", "sysvec_apic_timer_interrupt")
#: What the timer does when it is over: sending, as without it.
_SENDS = "tcp_tsq_handler"
_LIBRARIES = (
    (re.compile(r"/(libssl|_ssl\.)[^/]*$"), TLS),
    (re.compile(r"crc32c[^/]*$"), CRC32C),
    (re.compile(r"/(_hashlib|_sha)[^/]*$"), SHA256),
    (re.compile(r"sqlite[^/]*$"), SQLITE),
    (re.compile(r"/(libpython[^/]*|python[\d.]*)$|/lib-dynload/"), INTERPRETER),
    (re.compile(r"/(lib(c|m|curl|pthread|nghttp2|z)[-.][^/]*|ld-[^/]*|curl)$|^\[vdso\]$"), LIBC),
)


class Frame(NamedTuple):
    """A function, and the program, library or kernel that it is in."""

    function: str
    place: str
    kernel: bool


class Sample(NamedTuple):
    """One moment of one thread, from what it did to whoever called that."""

    thread: int
    frames: Sequence[Frame]


def parse(text: str) -> Iterator[Sample]:
    """The samples in what `perf script -F comm,tid,ip,sym,dso` printed."""
    for block in text.split("\n\n"):
        head, *lines = block.strip("\n").split("\n")
        frames = [
            Frame(found[2], found[3], int(found[1], 16) >= _KERNEL_FROM)
            for line in lines
            if (found := _FRAME.match(line))
        ]
        if frames:
            yield Sample(int(head.split()[-1]), frames)


def sender(samples: Sequence[Sample]) -> int | None:
    """The thread that most often was about to send; None if perf saw none."""
    sends = Counter(
        sample.thread
        for sample in samples
        if any(frame.function == "tcp_sendmsg" for frame in sample.frames)
    )
    return sends.most_common(1)[0][0] if sends else None


def sees_kernel(samples: Sequence[Sample]) -> bool:
    """Whether perf may look into the kernel, and knows the names of its functions."""
    frames = (frame for sample in samples for frame in sample.frames)
    return any(frame.kernel and frame.function != "[unknown]" for frame in frames)


def kind(sample: Sample, *, handshakes: bool) -> str:
    """One of `KINDS`. ``handshakes``: libcrypto in this thread is TLS, and else SHA-256.

    A distribution's libcrypto has no symbols by which to tell the two apart.
    """
    first = sample.frames[0]
    if first.kernel:
        return _kernel([frame.function for frame in sample.frames if frame.kernel])
    if "/libcrypto" in first.place:
        return TLS if handshakes else SHA256
    fitting = (name for pattern, name in _LIBRARIES if pattern.search(first.place))
    return next(fitting, OTHER)


def _kernel(calls: Sequence[str]) -> str:
    inner = calls[: max(1, calls.index(_SENDS))] if _SENDS in calls else calls
    if _COPY.search(inner[0]):
        return COPIES
    if _paces(inner):
        return PACING
    if any("futex" in call for call in inner):
        return THREADS
    return WAKING if any(_WAKE.search(call) for call in inner) else REST


def _paces(calls: Sequence[str]) -> bool:
    first, interrupt = _INTERRUPTED
    return bool(
        _TIMER_STARTS & {*pairwise(calls)}
        or _TIMER_ENDS & {*calls}
        or (calls[0] == first and interrupt in calls)
    )


def times(samples: Sequence[Sample], *, tls: bool) -> Times:
    """Seconds of CPU; a thread that sends over TLS does not hash."""
    sends = sender(samples)
    counts = Counter(
        (
            SENDER if sample.thread == sends else OTHERS,
            kind(sample, handshakes=tls and sample.thread == sends),
        )
        for sample in samples
    )
    return {key: count / HZ for key, count in counts.items()}


def further(small: Times, large: Times, units: float) -> Times:
    """What each of ``units`` more took."""
    keys = small.keys() | large.keys()
    return {key: (large.get(key, 0) - small.get(key, 0)) / units for key in keys}
