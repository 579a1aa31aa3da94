"""Where the CPU goes: `python -m bench.profile` writes bench/PROFILE.md.

Linux's `perf` looks 2000 times in each second of CPU at what each thread does.
"""

from __future__ import annotations

import argparse
import ctypes
import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.contenders import CONTENDERS, CURL, MEDIA_8, RUN, RUN_PLAIN, VENDOR, Task
from bench.folders import make_model
from bench.measure import Failed, Network, measured, sink
from bench.profile_page import Part, page
from bench.report import CONTROL, GIB, congestion_control, facts
from bench.scenarios import SMALL_BYTES
from bench.stacks import HZ, Times, further, parse, sees_kernel, times

_RECORD = (
    "perf",
    "record",
    "--quiet",
    "-N",
    "--no-bpf-event",
    "-g",
    "-e",
    "cpu-clock",
    "-F",
    str(HZ),
    "-o",
)
_SCRIPT = ("perf", "script", "-F", "comm,tid,ip,sym,dso", "-i")
_HOW = "error: the program perf is not there\nhint: on Debian: apt-get install linux-perf"
_BLIND = "perf saw nothing of the kernel: try it as root"
_PACES = "bbr"
_NEW_NETWORK = 0x40000000  # CLONE_NEWNET
_ONE_FILE = (RUN, RUN_PLAIN, CURL)
_MANY_FILES = (RUN, VENDOR, MEDIA_8)
_FILES = 500


@dataclass(frozen=True)
class Folders:
    """Two that differ only in how much there is to send, in GiB or in files."""

    small: Path
    large: Path
    units: float


def taken(name: str, task: Task, *, tls: bool) -> Times:
    """One run of one contender under perf. Raises Failed."""
    task.scratch.mkdir()
    try:
        command = CONTENDERS[name].command(task)
        data, log = str(task.scratch / "perf.data"), task.scratch / "output"
        payload = sum(path.stat().st_size for path in task.folder.iterdir())
        measured(task.sink, [*_RECORD, data, *command], task.variables, payload, log)
        said = subprocess.run([*_SCRIPT, data], capture_output=True, text=True, check=False)
        samples = list(parse(said.stdout))
    finally:
        shutil.rmtree(task.scratch)
    if not sees_kernel(samples):
        raise Failed(f"{_BLIND}\n{said.stderr}")
    return times(samples, tls=tls)


def taking_turns(
    names: Sequence[str], folders: Folders, network: Network, rounds: int, scratch: Path
) -> Part:
    """What the smaller folder took, and each further unit of the larger, by contender."""
    part = Part({name: [] for name in names}, {name: [] for name in names})
    with sink(network, scratch) as where:
        for number in range(rounds):
            for name in names:
                small, large = (
                    taken(name, Task(folder, where, scratch / "run"), tls=network.tls)
                    for folder in (folders.small, folders.large)
                )
                part.starting[name].append(small)
                part.further[name].append(further(small, large, folders.units))
            print(f"{network.words}, round {number + 1} of {rounds}", flush=True)
    return part


def _settle(folder: Path) -> None:
    """Nothing is left to write, and the pages are where those of a file are that is used."""
    os.sync()
    for _ in range(2):
        for path in folder.iterdir():
            with path.open("rb", buffering=0) as file:
                while file.read(1 << 20):
                    pass


@contextmanager
def without_pacing() -> Iterator[None]:
    """A loopback of its own, on which TCP sends when it can (`reno`). Raises OSError: not root."""
    before = os.open("/proc/self/ns/net", os.O_RDONLY)
    try:
        _switch(lambda libc: libc.unshare(_NEW_NETWORK))
        try:
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            CONTROL.write_text("reno")
            yield
        finally:
            _switch(lambda libc: libc.setns(before, _NEW_NETWORK))
    finally:
        os.close(before)


def _switch(call: Callable[[ctypes.CDLL], int]) -> None:
    if call(ctypes.CDLL(None, use_errno=True)):
        raise OSError(ctypes.get_errno(), "another network namespace")


def one_file(gib: Sequence[int], rounds: int, scratch: Path) -> dict[str, Part]:
    """By heading; without pacing only where TCP has it, and root may do without."""
    folders = Folders(scratch / "small", scratch / "large", gib[1] - gib[0])
    for folder, size in zip((folders.small, folders.large), gib, strict=True):
        make_model(folder, 1, size * GIB)
        _settle(folder)
    turns = functools.partial(taking_turns, _ONE_FILE, folders, rounds=rounds, scratch=scratch)
    found = {f"HTTP, congestion control {congestion_control()}": turns(Network())}
    if congestion_control() == _PACES and os.geteuid() == 0:
        with without_pacing():
            found[f"HTTP, congestion control {congestion_control()}"] = turns(Network())
    found[f"TLS, congestion control {congestion_control()}"] = turns(Network(tls=True))
    shutil.rmtree(folders.small)
    shutil.rmtree(folders.large)
    return found


def many_files(rounds: int, scratch: Path) -> Part:
    """Of 100 KB."""
    folders = Folders(scratch / "small", scratch / "large", _FILES - 1)
    make_model(folders.small, 1, SMALL_BYTES)
    make_model(folders.large, _FILES, SMALL_BYTES)
    names = [name for name in _MANY_FILES if not CONTENDERS[name].missing()]
    return taking_turns(names, folders, Network(), rounds, scratch)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(prog="bench.profile", description=__doc__)
    parser.add_argument("--gib", type=int, nargs=2, default=(1, 4), metavar=("LESS", "MORE"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("PROFILE.md"))
    options = parser.parse_args()
    if shutil.which("perf") is None:
        sys.exit(_HOW)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and so the folder is removed
    began, load = time.monotonic(), _load()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        large = one_file(options.gib, options.rounds, Path(name))
        many = many_files(options.rounds, Path(name))
    told = facts((RUN, CURL, MEDIA_8)) | {
        "perf": subprocess.check_output(["perf", "--version"], text=True).split()[-1],
        "files": f"{options.gib[0]} and {options.gib[1]} GiB; 1 and {_FILES} of 100 KB",
        "rounds": str(options.rounds),
        "load (`/proc/loadavg`)": f"{load} before, {_load()} after",
        "took": f"{time.monotonic() - began:.0f} s",
    }
    options.out.write_text(page(told, large, many, _FILES))


def _load() -> str:
    return " ".join(Path("/proc/loadavg").read_text().split()[:3])


if __name__ == "__main__":
    main()
