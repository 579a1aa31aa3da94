"""The name and version of this program, and what installs an optional part of it."""

from __future__ import annotations

import shlex
import sys

#: `[project].name`. Command and import are `uploader`; as a package that is another project.
NAME = "uploader-for-fireworks"
__version__ = "0.1.0"


#: What each extra of pyproject.toml consists of.
EXTRAS = {
    "notify": ("apprise>=1.9",),
    "postgresql": ("psycopg[binary]>=3.2",),
    "signatures": ("model-signing>=1.1", "pyopenssl"),
    "socks": ("requests[socks]",),
}


def install(extra: str) -> str:
    """The hint for a feature that needs an extra (docs/install.md §5).

    It does not name this program: on an index, anybody may take that name, and another environment
    than ours would fetch it there.
    """
    command = shlex.join([sys.executable, "-m", "pip", "install", *EXTRAS[extra]])
    return f"{command}; with pipx or uv see docs/install.md §5"
