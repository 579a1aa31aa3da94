"""`uploader demo --keep --pace`: it can be stopped at, looked at and left running."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from uploader.demo import _command, _module_paths, _worker
from uploader.sandbox.server import Sandbox

PATIENCE_S = 90.0
COMMAND = [sys.executable, "-m", "uploader"]


def test_no_code_beside_a_clone_is_run() -> None:
    """Where the clone is, as in /tmp, anybody may put a `sitecustomize.py`."""
    package = Path(sys.modules["uploader"].__file__ or "").parent
    assert next(_module_paths()) == str(package.parent)


@contextmanager
def demo(*options: str) -> Iterator[subprocess.Popen[str]]:
    """The demo as a process, killed if it takes too long."""
    with subprocess.Popen(
        [*COMMAND, "demo", *options], stdout=subprocess.PIPE, text=True
    ) as process:
        timer = threading.Timer(PATIENCE_S, process.kill)
        timer.start()
        try:
            yield process
        finally:
            timer.cancel()
            process.kill()


def status(env: Path) -> list[str]:
    """The states of the jobs, as another terminal sees them."""
    script = f'. "{env}"; exec "$0" -m uploader status --json'
    done = subprocess.run(
        ["/bin/sh", "-c", script, sys.executable],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
        env={"PATH": os.environ["PATH"]},
    )
    return [job["status"] for job in json.loads(done.stdout)["jobs"]]


@pytest.mark.acceptance
@pytest.mark.long
def test_a_demo_that_is_kept_can_be_looked_at_and_goes_on_until_ctrl_c() -> None:
    looks: list[list[str]] = []
    kept = None
    with demo("--keep", "--pace", "4") as process:
        assert process.stdout
        for line in process.stdout:
            if "another terminal: . " in line:
                env = Path(line.split(" . ")[1].split(";")[0].strip())
                looks.append(status(env))
                assert stat.S_IMODE(env.stat().st_mode) == 0o600
            if "until Ctrl-C" in line:
                process.send_signal(signal.SIGINT)
            if line.startswith("Kept: "):
                kept = Path(line.removeprefix("Kept: ").strip())
        assert process.wait(PATIENCE_S) == 0
    assert kept is not None
    assert (kept / "objects/sandbox/tiny-llama/config.json").is_file()
    shutil.rmtree(kept)
    assert looks == [["active"], ["active"], ["done"], ["done"]]


@pytest.mark.acceptance
@pytest.mark.long
def test_the_demo_can_be_watched_in_a_browser_until_ctrl_c() -> None:
    jar = urllib.request.HTTPCookieProcessor()
    browser = urllib.request.build_opener(jar, urllib.request.ProxyHandler({}))
    seen, jobs = "", ""
    with demo("--page", "--pace", "1") as process:
        assert process.stdout
        for line in process.stdout:
            if "in a browser: " in line:
                jobs = line.split("in a browser: ")[1].partition("/open/")[0] + "/api/jobs"
                with browser.open(line.split()[-1], timeout=PATIENCE_S) as page:
                    assert b"uploader" in page.read()
            if "until Ctrl-C" in line:
                with browser.open(jobs, timeout=PATIENCE_S) as answer:
                    seen = json.load(answer)["jobs"][0]["status"]
                process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0
    assert seen == "done"


def test_a_demo_runs_no_code_of_the_folder_it_is_started_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trap = tmp_path / "trapped"
    for name in ("uploader", "requests", "json"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"open({str(trap)!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    with Sandbox() as box:
        scratch = tmp_path / "scratch"
        scratch.mkdir()
        command = _command(box, scratch)
        assert command("--version").strip()
        with _worker(command.environment) as process:
            assert process.wait(PATIENCE_S) == 0
    assert not trap.exists()
