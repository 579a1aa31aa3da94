"""The calls while a daemon works, and the examples of docs/python.md as they stand there."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

import uploader
from tests.acceptance.conftest import World, world
from tests.model.build import BASE, folder, safetensors

__all__ = ["world"]
pytestmark = pytest.mark.acceptance
DEADLINE_S = 120
PAGE = (Path(__file__).parents[2] / "docs" / "python.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture
def daemon(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A worker alongside this process, which has the same settings."""
    for name, value in world.environment.items():
        if name.startswith(("UPLOADER_", "FIREWORKS_", "REQUESTS_", "HOME", "XDG_")):
            monkeypatch.setenv(name, value)
    monkeypatch.chdir(world.folder)
    with world.worker():
        yield world


def test_from_a_folder_to_ready_in_another_thread(
    daemon: World, capfd: pytest.CaptureFixture[str]
) -> None:
    root = daemon.model("weights", model_bin=1 << 20)
    before = [signal.getsignal(number) for number in signal.valid_signals()]
    ended: list[uploader.JobWithFiles] = []

    def call() -> None:
        job = uploader.enqueue(root, allow="no_weights")
        ended.append(uploader.wait(job.id, timeout=DEADLINE_S))

    thread = threading.Thread(target=call)
    thread.start()
    thread.join(DEADLINE_S)
    (job,) = ended
    assert (job.status, job.stage) == ("done", "ready")
    assert all(file.stored and file.verified for file in job.files)
    assert [signal.getsignal(number) for number in signal.valid_signals()] == before
    assert capfd.readouterr() == ("", "")
    daemon.assert_identical(root)


class Display:
    """In place of a notebook: what a line that is drawn again has shown."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    def __call__(self, text: str, *, display_id: bool) -> Display:
        assert display_id
        self.shown.append(text)
        return self

    def update(self, text: str) -> None:
        self.shown.append(text)


@pytest.mark.long
def test_the_examples_of_the_page_run_as_they_stand(
    daemon: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tqdm", reason="comes along with a test dependency")
    notebook = Display()
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=notebook))
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(display=None))
    weights = {"model.safetensors": safetensors({"lm_head.weight": 2 << 20})}
    folder(daemon.folder / "my-model", BASE | weights)
    assert len(EXAMPLES) >= 9
    names: dict[str, object] = {}
    for example in EXAMPLES:
        exec(compile(example, "docs/python.md", "exec"), names)
    assert [Path(job.path).name for job in uploader.jobs()] == ["checkpoint-500"]
    assert "ready done" in notebook.shown[-1]


@pytest.mark.long
def test_a_type_checker_accepts_the_examples_of_the_page(tmp_path: Path) -> None:
    (tmp_path / "page.py").write_text("\n".join(EXAMPLES))
    options = ("--config-file=", "--check-untyped-defs", "--ignore-missing-imports")
    checker = [sys.executable, "-m", "mypy", *options, "page.py"]
    done = subprocess.run(checker, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_page_names_every_call_and_value() -> None:
    missing = [name for name in uploader.__all__ if f"`{name}" not in PAGE]
    assert missing == []
