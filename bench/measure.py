"""One run of one contender, measured from outside; and the sink as a process."""

from __future__ import annotations

import json
import os
import resource
import signal
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
#: Nothing here takes as long, however busy the machine is.
DEADLINE_S = 150.0
_ASK_S = 30.0


@dataclass(frozen=True)
class Network:
    """What the sink pretends: TLS or not, time before each answer, caps of one and of all."""

    tls: bool = False
    latency_ms: float = 0.0
    connection_mb_s: float = 0.0
    link_mb_s: float = 0.0

    @property
    def words(self) -> str:
        """For a heading."""
        parts = ["TLS" if self.tls else "HTTP", f"{self.latency_ms:g} ms per request"]
        if self.connection_mb_s:
            parts.append(f"{self.connection_mb_s:g} MB/s per connection")
        if self.link_mb_s:
            parts.append(f"{self.link_mb_s:g} MB/s for all connections")
        return ", ".join(parts)


@dataclass(frozen=True)
class Run:
    """What one run took; `peak_mb` is the largest process's, `cpu_s` that of all of them.

    None is what was not looked at: calls of fsync and fdatasync, and how many files were in flight
    at the end.
    """

    wall_s: float
    cpu_s: float
    peak_mb: float
    requests: int
    connections: int
    sink_cpu_s: float
    syncs: int | None = None
    in_flight: int | None = None


class Failed(Exception):
    """A contender ended badly, or did not deliver every byte."""


@dataclass(frozen=True)
class SinkAt:
    """A running sink: where it listens, and the authority of its certificate."""

    url: str
    ca_file: Path | None

    def ask(self, path: str, method: str = "GET", body: Any = None) -> Any:
        """The JSON that it answers, and the answer's headers under `headers`."""
        context = ssl.create_default_context(cafile=self.ca_file) if self.ca_file else None
        data = json.dumps(body).encode() if body is not None else None
        where = path if path.startswith("http") else self.url + path
        request = urllib.request.Request(where, data, method=method)
        with urllib.request.urlopen(request, timeout=_ASK_S, context=context) as answer:
            text = answer.read()
            return {**json.loads(text or b"{}"), "headers": dict(answer.headers)}


@contextmanager
def sink(network: Network, scratch: Path) -> Iterator[SinkAt]:
    """A sink that behaves as ``network`` says, for as long as the context lasts."""
    command = [sys.executable, "-m", "bench.sink", f"--latency-ms={network.latency_ms}"]
    command.append(f"--connection-mb-s={network.connection_mb_s}")
    command.append(f"--link-mb-s={network.link_mb_s}")
    if network.tls:
        command.append(f"--tls={scratch}")
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            yield SinkAt(url, scratch / "ca.pem" if network.tls else None)
        finally:
            process.kill()


def measured(
    where: SinkAt, command: Sequence[str], variables: Mapping[str, str], payload: int, log: Path
) -> Run:
    """Run ``command``, which must deliver ``payload`` bytes. Raises Failed."""
    before = where.ask("/_sink/counts")
    began = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **variables},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            status, usage = _ended(process.pid)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    wall_s = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    after = where.ask("/_sink/counts")
    delivered = after["stored_bytes"] - before["stored_bytes"]
    if process.returncode or delivered != payload:
        text = log.read_text(errors="replace")[-2000:]
        raise Failed(f"exit {process.returncode}, {delivered} of {payload} bytes\n{text}")
    return Run(
        wall_s,
        usage.ru_utime + usage.ru_stime,
        usage.ru_maxrss / (1024 if sys.platform == "linux" else 1024 * 1024),
        after["requests"] - before["requests"],
        after["connections"] - before["connections"],
        after["cpu_s"] - before["cpu_s"],
    )


def _ended(pid: int) -> tuple[int, resource.struct_rusage]:
    """How a process ended and what it used; it and its group are killed if that takes too long."""
    signal.signal(signal.SIGALRM, lambda *_: os.killpg(pid, signal.SIGKILL))
    signal.setitimer(signal.ITIMER_REAL, DEADLINE_S)
    try:
        _, status, usage = os.wait4(pid, 0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return status, usage
