"""What a start and a large file cost, by the process's own clock and memory."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.conftest import MIB, World, until

pytestmark = pytest.mark.acceptance

#: What no worker can do without.
_LIBRARIES = "sqlalchemy, requests, pydantic, typer, google.resumable_media.requests"


def sparse(world: World, name: str, size: int) -> Path:
    folder = world.model(name)
    with (folder / "weights.bin").open("wb") as file:
        file.truncate(size)
    return folder


def cpu_s(process: subprocess.Popen[str]) -> float:
    """Seconds of CPU that a running process has used, on whatever else the machine works."""
    used_ns = 0
    for path in Path(f"/proc/{process.pid}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError):
            used_ns += int(path.read_text().split()[0])
    return used_ns / 1e9


def bare_s(world: World) -> float:
    """What Python and the libraries take to start."""
    program = f"import {_LIBRARIES}; import sys; print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", program],
        env=world.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        process.stdout.readline()
        return cpu_s(process)


def first_byte_s(world: World) -> float:
    """What a worker takes from its start to the first new byte of a file that was cut."""
    before = world.received()
    with world.worker() as process:
        until(lambda: world.received() > before)
        taken_s = cpu_s(process)
        until(lambda: world.received() > before + MIB)
        world.kill(process)
    return taken_s


@pytest.mark.long
@pytest.mark.timed
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what the threads used")
def test_an_upload_goes_on_in_two_and_a_half_times_what_its_libraries_take_to_load(
    world: World,
) -> None:
    """In seconds of CPU: beyond it, a start only waits for one status query."""
    world.environment["UPLOADER_TRANSFER__BANDWIDTH_LIMIT"] = "8MiB/s"
    world.uploader("enqueue", sparse(world, "model", 512 * MIB), "--no-preflight")
    first_byte_s(world)  # opens the session
    bare, first = zip(*((bare_s(world), first_byte_s(world)) for _ in range(5)), strict=True)
    assert min(first) <= 2.5 * min(bare)


_PEAK = (
    "import resource, subprocess, sys\n"
    "code = subprocess.call(sys.argv[1:])\n"
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
    "sys.exit(code)"
)


def peak_mb(world: World, name: str, size: int) -> float:
    world.uploader("enqueue", sparse(world, name, size), "--no-preflight")
    # A child begins with the peak of its parent: a small one stands between.
    command = [sys.executable, "-c", _PEAK, *world.program, "run", "--until-idle"]
    ended = subprocess.run(
        command, env=world.environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return int(ended.stdout) / (MIB if sys.platform == "darwin" else 1024)


@pytest.mark.long
def test_memory_does_not_grow_with_the_file(world: World) -> None:
    small, large = (peak_mb(world, f"m{size}", size * MIB) for size in (256, 2048))
    assert large <= small + 8
    assert large <= 120
