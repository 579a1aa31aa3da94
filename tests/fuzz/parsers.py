"""Every parser of foreign text, by its name."""

from __future__ import annotations

from pathlib import Path

from tests.fuzz.answers import answers
from tests.fuzz.lines import settings, texts
from tests.fuzz.model_files import model_files
from tests.fuzz.parser import Parser
from tests.fuzz.rows import rows


def parsers(folder: Path) -> dict[str, Parser]:
    """All of them by name; ``folder`` is empty, and theirs."""
    return {
        **answers(),
        **texts(),
        **model_files(folder / "model"),
        **settings(folder / "settings"),
        "rows": rows(folder / "store"),
    }
