"""The name and version of this program, and what installs an optional part of it."""

from __future__ import annotations

#: `[project].name`. Command and import are `uploader`; as a package that is another project.
NAME = "uploader-for-fireworks"
__version__ = "0.1.0"


def install(extra: str) -> str:
    """The hint for a feature that needs an extra of pyproject.toml (docs/install.md §5)."""
    return f"pip install '{NAME}[{extra}]'; with pipx or uv see docs/install.md §5"
