"""Where the configuration and the key of the service are, if no setting names another place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import platformdirs

from uploader.core.text import flaw_of_path

#: The machine's, for a service that has no user.
SYSTEM = Path("/etc/uploader")
CONFIG = "config.toml"
#: The file with the API key that `uploader service install` hands to the service manager.
KEY = "api-key"


def at_home(place: Callable[[str], Path]) -> Path | None:
    """Our folder in a user's ``place``; None for a user without a home."""
    try:
        found = place("uploader")
    except RuntimeError:
        return None
    return found if found.is_absolute() and not flaw_of_path(str(found)) else None


def config_folders() -> tuple[Path, ...]:
    """The user's, unless this user has no home, and the machine's."""
    own = at_home(platformdirs.user_config_path)
    return (own, SYSTEM) if own else (SYSTEM,)


def private() -> Iterator[Path]:
    """The key and the configuration in their usual places, and each folder for what else is there.

    An editor may have left a copy in it. A command may know of the key's file by its place only.
    No disk is asked: one that is silent would hold up every job.
    """
    for folder in config_folders():
        yield from (folder / KEY, folder / CONFIG, folder)
