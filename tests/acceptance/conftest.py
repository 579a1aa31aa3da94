"""Real processes, real sockets: `uploader` as a user and a supervisor start it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from uploader.demo import make_model
from uploader.sandbox.server import Sandbox

GRANULE = 256 * 1024
MIB = 1 << 20
#: For what must happen; generous, since only a failing test waits for it.
DEADLINE_S = 120.0

pytestmark = pytest.mark.acceptance


def until(reached: Callable[[], object], deadline_s: float = DEADLINE_S) -> None:
    """Wait on a condition, never on the clock alone."""
    pause, give_up = threading.Event(), time.monotonic() + deadline_s
    while not reached():
        assert time.monotonic() < give_up, "waited too long"
        pause.wait(0.01)


class Stopwatch:
    """Seconds since it was made, less those that a busy machine kept a process waiting for a CPU.

    A promise in seconds is about the process, not about what else runs on the machine. Only Linux
    tells what the machine took.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        tasks = (Path(f"/proc/{process.pid}/task"), Path("/proc/self/task"))
        self._tasks = [folder for folder in tasks if folder.is_dir()]
        self._began = time.monotonic()
        self._waited_before_s = self._waited_s = self._look()

    def until(self, reached: Callable[[], object]) -> float:
        """The seconds until ``reached``."""

        def look() -> object:
            self._waited_s = max(self._waited_s, self._look())  # ended threads take theirs along
            return reached()

        until(look)
        return time.monotonic() - self._began - (self._waited_s - self._waited_before_s)

    def _look(self) -> float:
        """What all threads of both processes, this one and the other, have waited for a CPU."""
        waited_ns = 0
        for path in (path for folder in self._tasks for path in folder.glob("*/schedstat")):
            with contextlib.suppress(OSError):
                waited_ns += int(path.read_text().split()[1])
        return waited_ns / 1e9


class World:
    """A sandbox, a state folder, and `uploader` commands that use both."""

    def __init__(self, box: Sandbox, folder: Path) -> None:
        self.box = box
        self.folder = folder
        self.state = folder / "state"
        foreign = ("UPLOADER_", "FIREWORKS_")
        kept = {name: v for name, v in os.environ.items() if not name.startswith(foreign)}
        self.program = [sys.executable, "-m", "uploader"]
        self.environment = {
            **kept,
            "HOME": str(folder),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "UPLOADER_STATE_DIR": str(self.state),
            "UPLOADER_VALIDATION__POLL_INTERVAL": "200ms",
            "UPLOADER_RETRY__INITIAL_DELAY": "50ms",
            "FIREWORKS_BASE_URL": box.base_url,
            "FIREWORKS_API_KEY": box.api_key,
            "FIREWORKS_ACCOUNT_ID": box.account_id,
        }
        if box.ca_file:
            self.environment["REQUESTS_CA_BUNDLE"] = str(box.ca_file)
        self._released = threading.Event()

    def model(self, name: str, **sizes: int) -> Path:
        """A folder that passes preflight, its weights of given sizes (file_bin=…)."""
        folder = self.folder / name
        folder.mkdir()
        (folder / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
        (folder / "tokenizer.json").write_text('{"version": "1.0"}')
        for file, size in sizes.items():
            (folder / file.replace("_", ".")).write_bytes(os.urandom(size))
        return folder

    def shards(self, name: str) -> Path:
        """The demo's model: 192 MiB in four shards."""
        make_model(self.folder / name)
        return self.folder / name

    def uploader(self, *words: object, expect: int | None = 0) -> subprocess.CompletedProcess[str]:
        command = [*self.program, *map(str, words)]
        done = subprocess.run(
            command,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        assert expect is None or done.returncode == expect, done.stdout + done.stderr
        return done

    @contextlib.contextmanager
    def worker(self, *words: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
        """`uploader run`, with its standard error in a file; killed at the latest at the end."""
        command = [*self.program, "run", *words]
        with (self.folder / "run.log").open("a") as log:
            process = subprocess.Popen(
                command, env=self.environment | environment, stderr=log, text=True
            )
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def log(self) -> str:
        return (self.folder / "run.log").read_text()

    def finish(self, **environment: str) -> None:
        """A worker until idle, which has to end well."""
        with self.worker("--until-idle", **environment) as process:
            assert process.wait(DEADLINE_S) == 0, self.log()

    def hold(self, name: str, at_byte: int) -> None:
        """Let every PUT of this file stand still at a byte, until `release` or `kill`.

        A command started meanwhile may take as long as it likes; at a limited bandwidth the upload
        would end first on a busy machine.
        """
        stands_still = {"on": "put", "match": name, "do": "stall", "at_byte": at_byte}
        self.box.world.script.add([stands_still | {"seconds": 1, "times": 0}])
        pace = self.box.world.pace

        def sleep(_: float) -> None:
            while not (self._released.wait(0.01) or pace.stopping.is_set()):
                pass

        pace.sleep = sleep

    def release(self) -> None:
        self._released.set()

    def kill(self, process: subprocess.Popen[str]) -> None:
        """SIGKILL, and wait until the sandbox has noticed the cut too."""
        process.send_signal(signal.SIGKILL)
        process.wait()
        self.release()
        before: list[Any] = [None]

        def still() -> bool:
            last, before[0] = before[0], self.box.report()["objects"]
            threading.Event().wait(0.03)
            return last == before[0] and not self.box.world.receiving()

        until(still)

    def job(self, ref: object = 1) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.uploader("show", ref, "--json").stdout)
        return found

    def received(self) -> int:
        return sum(entry["body_bytes_read"] for entry in self.box.report()["objects"].values())

    def assert_identical(self, source: Path, model_id: str | None = None) -> None:
        stored = self.folder / "objects" / "sandbox" / (model_id or source.name)
        files = [path for path in source.iterdir() if path.is_file()]
        assert files
        for path in files:
            assert (stored / path.name).read_bytes() == path.read_bytes(), path.name

    def assert_kept_every_promise(self) -> None:
        report = self.box.report()
        assert report["creates"] == 1
        assert report["early_validations"] == report["leaked_keys"] == 0
        assert report["bytes_below_confirmed"] == 0
        assert set(report["models"].values()) == {"READY"}


@pytest.fixture
def world(tmp_path: Path, secure: bool) -> Iterator[World]:
    with Sandbox(data_dir=tmp_path / "objects", tls=secure) as box:
        yield World(box, tmp_path)
