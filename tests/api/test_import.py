"""`import uploader` costs next to nothing and does nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import uploader
from uploader import api

DEADLINE_S = 120
HEAVY = ("typer", "rich", "alembic", "sqlalchemy", "requests", "urllib3", "pydantic", "numpy")


def python(program: str) -> str:
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=DEADLINE_S)
    return done.stdout.strip()


def test_nothing_heavy_is_loaded() -> None:
    found = python(f"import sys, uploader; print([m for m in {HEAVY} if m in sys.modules])")
    assert found == "[]"


def test_nor_by_naming_every_call_and_error() -> None:
    program = (
        "import sys, uploader; [getattr(uploader, name) for name in uploader.__all__];"
        f"print([m for m in {HEAVY} if m in sys.modules])"
    )
    assert python(program) == "[]"


def test_nothing_is_opened_started_or_registered() -> None:
    program = (
        "import atexit, logging, os, signal, sys, threading\n"
        "def opened():\n"
        "    return sorted(os.listdir('/dev/fd'))\n"
        "def state():\n"
        "    signals = [signal.getsignal(number) for number in signal.valid_signals()]\n"
        "    loggers = [logging.root.handlers, logging.getLogger('uploader').handlers]\n"
        "    return len(opened()), threading.active_count(), signals, loggers\n"
        "before = state()\n"
        "import uploader\n"
        "print(state() == before)"
    )
    assert python(program) == "True"


def cpu_s(modules: str) -> float:
    """The CPU that an import costs, the least of a few tries: others only add to it."""
    program = (
        f"import time; began = time.process_time(); import {modules};"
        " print(time.process_time() - began)"
    )
    return min(float(python(program)) for _ in range(3))


def test_it_costs_at_most_half_of_what_it_avoids() -> None:
    assert cpu_s("uploader") <= 0.5 * cpu_s("sqlalchemy, requests")


def test_every_name_is_there_and_listed() -> None:
    assert sorted(uploader.__all__) == sorted(api.__all__)
    assert {*uploader.__all__} <= {*dir(uploader)}
    for name in uploader.__all__:
        assert getattr(uploader, name) is getattr(api, name)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        getattr(uploader, "nothing")  # noqa: B009


@pytest.mark.parametrize("name", uploader.__all__)
def test_every_call_and_value_tells_what_it_is(name: str) -> None:
    thing = getattr(uploader, name)
    assert thing.__doc__
    if name.islower():
        assert f"uploader.{name}(" in thing.__doc__  # an example
        assert "Raises" in thing.__doc__


def test_types_are_shipped() -> None:
    assert Path(uploader.__file__).with_name("py.typed").exists()
