"""A state store in a file."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote


def sqlite_url(path: Path) -> str:
    """The database URL of a SQLite file, whatever characters its path has."""
    return f"sqlite:///{quote(str(path))}"
