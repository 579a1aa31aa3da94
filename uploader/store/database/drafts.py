"""New files of the state folder, whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from uploader.store.database.dialect import store_errors
from uploader.store.database.state_folder import new_private_file


@contextlib.contextmanager
def draft_of(path: Path, text: str) -> Iterator[Path]:
    """A private file beside ``path`` with that ASCII text, gone at the end unless it was renamed.

    Raises StoreError if it cannot be written.
    """
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    try:
        with store_errors():
            new_private_file(draft)
            with draft.open("w", encoding="ascii") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())  # else a power cut may leave an empty file of its name
        yield draft
    finally:
        draft.unlink(missing_ok=True)
