"""What a command does not need, it does not load: the start of each is as fast as it can be."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from uploader.cli.app import Program

DEADLINE_S = 60
#: Slow to load, each by itself.
DATABASE = ("sqlalchemy",)
SETTINGS = ("pydantic", "uploader.settings.schema")
NETWORK = ("requests", "urllib3", "charset_normalizer", "google.resumable_media")
RARE = ("alembic", "psycopg", "sqlalchemy.dialects.postgresql", "numpy", "safetensors", "rich")
OURS = ("uploader.sandbox", "uploader.preflight")
WORK = ("uploader.engine", "uploader.remote", "uploader.service")

LOOKING = (*NETWORK, *RARE, *OURS, *WORK)
#: The modules of commands: one that is not typed is not loaded.
TYPED = {place.partition(":")[0] for place in Program.later.values()} - {"app"}


def alone(*own: str) -> tuple[str, ...]:
    """The modules of all commands but these."""
    return tuple(f"uploader.cli.{module}" for module in sorted(TYPED - {*own}))


#: Each command, and the modules that it may not load.
COMMANDS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("--help",): (*DATABASE, *SETTINGS, *LOOKING),
    ("version",): (*DATABASE, *LOOKING, *alone()),  # Typer itself reads parameters with pydantic
    ("help", "status"): (*DATABASE, *LOOKING, *alone("status")),
    ("config", "path"): (*DATABASE, *LOOKING, *alone("config")),
    (): (*LOOKING, *alone("status")),
    ("status",): (*LOOKING, *alone("status")),
    ("status", "--json"): (*LOOKING, *alone("status")),
    ("show", "1"): (*LOOKING, *alone("show")),
    ("explain", "1"): (*LOOKING, *alone("explain")),
    ("events",): (*LOOKING, *alone("history")),
    ("pause", "1"): (*LOOKING, *alone("verbs")),
    ("wait", "1", "--timeout", "0"): (*LOOKING, *alone("wait")),
    ("prune",): (*LOOKING, *alone("prune")),
    ("run", "--until-idle"): (*RARE, *OURS, *alone("run", "serve")),
}
_PROGRAM = """
import sys
from uploader.cli import app
sys.argv = ["uploader", *sys.argv[2:]]
try:
    app.main()
except SystemExit:
    pass
found = sorted(name for name in FORBIDDEN if name in sys.modules)
print("loaded:", *found, file=sys.stderr)
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A store with a job that is paused."""
    home = tmp_path_factory.mktemp("home")
    folder = home / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "UPLOADER_STATE_DIR": str(home / "state"),
        "UPLOADER_API__LISTEN": "off",
        "FIREWORKS_API_KEY": "fw_test_key_0000000",
        "FIREWORKS_ACCOUNT_ID": "acme",
    }
    _uploader(environment, "enqueue", str(folder), "--no-preflight", "--kind", "base")
    _uploader(environment, "pause", "1")
    return environment


def _uploader(environment: dict[str, str], *words: str) -> str:
    command = [sys.executable, "-m", "uploader", *words]
    done = subprocess.run(
        command, env=environment, cwd=Path(__file__).parents[2], capture_output=True,
        text=True, check=True, timeout=DEADLINE_S,
    )  # fmt: skip
    return done.stdout


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_command_loads_nothing_slow_that_it_does_not_need(
    environment: dict[str, str], words: tuple[str, ...]
) -> None:
    program = _PROGRAM.replace("FORBIDDEN", repr(COMMANDS[words]))
    done = subprocess.run(
        [sys.executable, "-c", program, "--", *words], env=environment,
        cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True,
        timeout=DEADLINE_S,
    )  # fmt: skip
    assert done.stderr.splitlines()[-1].rstrip() == "loaded:"
