"""A reader who types what a page shows: in a home of their own, with a sandbox for Fireworks."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

#: For what must happen; generous, since only a failing test waits for it.
DEADLINE_S = 120.0


def blocks(page: str, language: str) -> list[str]:
    """What a page shows in that language, block by block."""
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)


def until(reached: Callable[[], object]) -> None:
    """Wait on a condition, never on the clock alone."""
    pause, give_up = threading.Event(), time.monotonic() + DEADLINE_S
    while not reached():
        assert time.monotonic() < give_up, "waited too long"
        pause.wait(0.02)


class Reader:
    """Terminals in one home. Once a sandbox runs, all of them have read its variables."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.configuration = home / ".config" / "uploader" / "config.toml"
        self.configuration.parent.mkdir(parents=True)
        bin_ = home / "bin"
        bin_.mkdir()
        for name, words in {"uploader": "-m uploader", "python": ""}.items():
            command = bin_ / name
            command.write_text(f'#!/bin/sh\nexec {sys.executable} {words} "$@"\n')
            command.chmod(0o755)
        foreign = ("UPLOADER_", "FIREWORKS_", "XDG_")
        kept = {name: v for name, v in os.environ.items() if not name.startswith(foreign)}
        self._environment = {
            **kept,
            "HOME": str(home),
            "PATH": f"{bin_}:{kept['PATH']}",
            "PYTHONPATH": str(Path(__file__).parents[1]),
            "UPLOADER_API__LISTEN": "127.0.0.1:0",  # other tests listen, too
            "UPLOADER_VALIDATION__POLL_INTERVAL": "200ms",
        }
        self._sandbox: dict[str, Any] = {}

    def types(self, block: str, expect: int = 0) -> str:
        """Run a block as one script that ends at the first failure; its standard output."""
        done = subprocess.run(
            ["/bin/sh", "-e", "-c", self._with_sandbox(block)],
            env=self._environment,
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        assert done.returncode == expect, f"{block}\n{done.stdout}{done.stderr}"
        return done.stdout

    @contextlib.contextmanager
    def leaves_running(self, line: str) -> Iterator[subprocess.Popen[str]]:
        """One command in a terminal of its own, killed at the latest at the end."""
        with (
            (self.home / "terminal.log").open("a") as log,
            subprocess.Popen(
                ["/bin/sh", "-c", self._with_sandbox(f"exec {line}")],
                env=self._environment,
                cwd=self.home,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            ) as process,
        ):
            try:
                yield process
            finally:
                process.kill()

    @contextlib.contextmanager
    def starts_the_sandbox(self, line: str) -> Iterator[None]:
        """The line that a page shows for it; it writes sandbox.env."""
        with self.leaves_running(line) as process:
            assert process.stdout
            self._sandbox = json.loads(process.stdout.readline())
            assert (self.home / "sandbox.env").is_file()
            yield

    @contextlib.contextmanager
    def starts_the_daemon(self, line: str) -> Iterator[subprocess.Popen[str]]:
        """The line that a page shows for it; until its API listens."""
        address = self.home / ".local" / "state" / "uploader" / "api.address"
        address.unlink(missing_ok=True)
        with self.leaves_running(line) as process:
            until(lambda: address.exists() or process.poll() is not None)
            yield process

    def scripts(self, *faults: dict[str, object]) -> None:
        """Let the sandbox go wrong."""
        self._tells_the_sandbox("faults", faults)

    def has_a_model(self, **model: object) -> None:
        """Let a model stand on the account that no job has made."""
        self._tells_the_sandbox("models", model)

    def in_the_store(self, statement: str) -> None:
        """Let rows be as no command makes them."""
        with closing(sqlite3.connect(next(self.home.rglob("uploader.db")))) as store, store:
            store.execute(statement)

    def _tells_the_sandbox(self, what: str, document: object) -> None:
        token = {"Authorization": f"Bearer {self._sandbox['control_token']}"}
        url = f"{self._sandbox['base_url']}/_sandbox/{what}"
        request = urllib.request.Request(url, json.dumps(document).encode(), token)
        urllib.request.urlopen(request, timeout=DEADLINE_S).close()

    def _with_sandbox(self, script: str) -> str:
        if not self._sandbox:
            return script
        return f". ./sandbox.env\n{script.replace('fw_…', self._sandbox['api_key'])}"
