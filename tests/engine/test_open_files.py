"""macOS lets a process open 256 files, and a worker asks for more."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from uploader import runtime, wiring
from uploader.settings.load import load
from uploader.store.database.dialect import open_engine

ASK = "from uploader.runtime import open_files; print(open_files(2048), open_files(2048))"


@pytest.mark.parametrize(
    ("limits", "given"),
    [
        ("ulimit -S -n 256", "2048 2048"),
        ("ulimit -S -n 256; ulimit -H -n 1000", "1000 1000"),
        ("ulimit -n 64", "64 64"),
        ("ulimit -S -n 4000", "4000 4000"),
    ],
)
def test_the_limit_of_open_files_is_raised_as_far_as_it_may_be(limits: str, given: str) -> None:
    python = f"exec {sys.executable} -c '{ASK}'"
    shell = subprocess.run(
        ["sh", "-c", f"{limits}; {python}"], capture_output=True, text=True, check=True
    )
    assert shell.stdout.strip() == given


def test_a_machine_that_refuses_keeps_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, resource.RLIM_INFINITY))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert runtime.open_files(2048) == 256


@pytest.mark.parametrize("most", [64, 2048])
def test_a_worker_that_may_open_few_files_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (most, most))
    settings = load(environ={"UPLOADER_STATE_DIR": str(tmp_path / "state")})
    engine = open_engine(settings.database_url)
    said = "".join(wiring.concerns(settings, engine))
    engine.dispose()
    assert ("only 64 files may be open at once" in said) is (most == 64)
