"""A sandbox behind two proxies, a state folder, and `uploader` commands that use both."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.soak.plan import Faults, RoundPlan
from tests.soak.proxy import Proxy
from uploader.sandbox.server import Sandbox
from uploader.sandbox.world import StorageObject

_PATIENCE_S = 60.0
_TICK_S = 0.05


class Stage:
    """Everything but the workers."""

    def __init__(self, box: Sandbox, folder: Path, seed: int) -> None:
        self.box = box
        self.folder = folder
        self.faults = Faults(seed)
        box.world.script = self.faults
        self.proxies = [Proxy(url) for url in (box.base_url, box.storage_url)]
        box.world.base_url, box.world.storage_url = (proxy.url for proxy in self.proxies)
        self.longest_command_s = 0.0
        self.meanwhile: Callable[[], object] = lambda: None
        foreign = ("UPLOADER_", "FIREWORKS_")
        inherited = {name: v for name, v in os.environ.items() if not name.startswith(foreign)}
        self.environment = {
            **inherited,
            "HOME": str(folder),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "UPLOADER_STATE_DIR": str(folder / "state"),
            "UPLOADER_VALIDATION__POLL_INTERVAL": "200ms",
            "UPLOADER_RETRY__INITIAL_DELAY": "100ms",
            "UPLOADER_RETRY__MAX_DELAY": "4s",
            "FIREWORKS_BASE_URL": self.proxies[0].url,
            "FIREWORKS_API_KEY": box.api_key,
            "FIREWORKS_ACCOUNT_ID": box.account_id,
            "NO_PROXY": "127.0.0.1",
        }
        if box.ca_file:
            self.environment["REQUESTS_CA_BUNDLE"] = str(box.ca_file)

    def uploader(self, *words: object) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, `meanwhile` called again and again."""
        command = [sys.executable, "-m", "uploader", *map(str, words)]
        pipe, began = subprocess.PIPE, time.monotonic()
        with subprocess.Popen(
            command, env=self.environment, text=True, stdout=pipe, stderr=pipe
        ) as process:
            try:
                out, err = self._output(process, began + _PATIENCE_S)
            finally:
                process.kill()
        self.longest_command_s = max(self.longest_command_s, time.monotonic() - began)
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def _output(self, process: subprocess.Popen[str], give_up_at: float) -> tuple[str, str]:
        while True:
            try:
                return process.communicate(timeout=_TICK_S)
            except subprocess.TimeoutExpired:
                if time.monotonic() > give_up_at:
                    raise
            self.meanwhile()

    def jobs(self) -> dict[int, dict[str, Any]]:
        """The job table, by id. Raises AssertionError if it cannot be read."""
        done = self.uploader("status", "--json")
        if done.returncode:
            raise AssertionError(f"uploader status ended with {done.returncode}: {done.stderr}")
        return {job["id"]: job for job in json.loads(done.stdout)["jobs"]}

    def prepare(self, plan: RoundPlan) -> None:
        """The sandbox of a round: its kind of URLs, its faults."""
        with self.box.world.lock:
            self.box.world.config.change(plan.switches)
            self.faults.clear()
            self.faults.add(plan.faults)

    def calm(self) -> None:
        with self.box.world.lock:
            self.box.world.config.chaos = 0.0
            self.faults.clear()

    def ready(self, model_id: str) -> bool:
        model = self.box.world.models.get((self.box.account_id, model_id))
        return model is not None and model.state == "READY"

    def received(self) -> int:
        """Body bytes the storage service has read of all objects that are still there."""
        with self.box.world.lock:
            return sum(found.body_bytes_read for found in self.box.world.objects.values())

    def confirmed(self, model_id: str) -> int:
        """The bytes of a model that the storage service would confirm now."""
        prefix = f"{self.box.account_id}/{model_id}/"
        with self.box.world.lock:
            objects = [o for key, o in self.box.world.objects.items() if key.startswith(prefix)]
            return sum(map(self._held, objects))

    def _held(self, found: StorageObject) -> int:
        if found.stored is not None:
            return found.stored.size
        # Of several sessions for one object the client uses one, which the report cannot know.
        sessions = [s for s in self.box.world.sessions.values() if s.target is found]
        return max((session.confirmed for session in sessions), default=0)


@contextmanager
def set_up(folder: Path, seed: int, *, tls: bool) -> Iterator[Stage]:
    with Sandbox(data_dir=folder / "objects", seed=seed, tls=tls) as box:
        found = Stage(box, folder, seed)
        try:
            yield found
        finally:
            for proxy in found.proxies:
                proxy.close()
