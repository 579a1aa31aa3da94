"""Callbacks of trainers: a checkpoint is enqueued as soon as it has been saved.

docs/python.md §5 shows it. `UploaderCallback` needs transformers, which is not installed along with
uploader and is only imported when that name is used.
"""

import importlib
from typing import TYPE_CHECKING

__all__ = ["UploaderCallback"]

if TYPE_CHECKING:
    from uploader.callbacks.trainer import UploaderCallback
else:

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module("uploader.callbacks.trainer"), name)
