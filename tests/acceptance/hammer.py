"""A user in a hurry: command lines, one after the other, and a line of JSON for each.

Every command line is the real one, from parsing to exit code, run in this one process: to start
Python anew for each would test the machine more than the store.
"""

from __future__ import annotations

import contextlib
import gc
import io
import json
import random
import sys
import time
from pathlib import Path

from uploader.cli import app
from uploader.store.database import migrate

_LOOKS = (
    "status",
    "status --json",
    "show {model} --json",
    "logs {model}",
    "explain {model}",
    "events",
    "db current",
    "db backup",
)
#: Every job of a folder "keep-…" has to end READY whatever is done to it.
_KEEPING = ("pause {model}", "resume {model}", "resume {model}", "retry {model}", "enqueue {path}")
_DROPPING = (
    *_KEEPING,
    "cancel {model}",
    "cancel {model} --delete-remote",
    "remove {model}",
    "retry {model} --rescan",
)


def command_line(dice: random.Random, folders: list[Path]) -> list[str]:
    folder = dice.choice(folders)
    verbs = _KEEPING if folder.name.startswith("keep") else _DROPPING
    words = dice.choice(dice.choice((_LOOKS, verbs, verbs)))
    return [word.format(model=folder.name, path=folder) for word in words.split()]


def carry_out(words: list[str]) -> dict[str, object]:
    said, complained = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(complained):
        code = app.run(words)
    return {"words": words, "code": code, "complained": complained.getvalue()}


def hammer(seed: str, seconds: str, *folders: str) -> None:
    """By chance, for so long."""
    dice, found = random.Random(int(seed)), [Path(folder) for folder in folders]
    for folder in folders:
        _tell(["enqueue", folder])
    end = time.monotonic() + float(seconds)
    while time.monotonic() < end:
        for _ in range(20):
            _tell(command_line(dice, found))
        gc.collect()  # a command leaves its connection to the end of its process


def _tell(words: list[str]) -> None:
    print(json.dumps(carry_out(words)), flush=True)  # noqa: T201


def main(what: str, *of: str) -> None:
    if what == "hammer":
        hammer(*of)
    else:
        for line in (what, *of):
            _tell(line.split())


if __name__ == "__main__":
    migrate._flaw = lambda connection, version: None  # noqa: ARG005  # a test may audit the store by triggers
    main(*sys.argv[1:])
