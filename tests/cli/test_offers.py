"""What a shell offers comes from rows, and some shells run what they are offered."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import home, store, template
from tests.model.build import BASE, folder
from uploader.cli import app, completion

__all__ = ["home", "store", "template"]


class Context:
    obj = None


@pytest.mark.parametrize(
    "name", ["m$(touch x)", "m`x`", "m\nx", "m;x", "m'x", 'm"x', "m\x1b]0;x\x07", "m x", "M"]
)
def test_a_name_that_is_none_is_not_offered(store: Path, tmp_path: Path, name: str) -> None:
    context: Any = Context()
    for model in ("good", "bad"):
        assert app.run(["enqueue", str(folder(tmp_path / model, BASE))]) == 0

    def offered() -> list[str]:
        return [one for one, _ in completion.jobs(context, "")]

    assert offered() == ["1", "2", "good", "bad"]
    with closing(sqlite3.connect(store, isolation_level=None)) as connection:
        connection.execute("UPDATE jobs SET model_id = ? WHERE id = 2", (name,))
    assert offered() == ["1", "2", "good"]
    assert not any(name in about for _, about in completion.jobs(context, ""))
