"""A table of the configuration, and the values that several tables have."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict

from uploader import files
from uploader.core.text import flaw_of_path


def text_or_none(value: object) -> object:
    """A text of blanks counts as not given."""
    return value.strip() or None if isinstance(value, str) else value


def whole_path(value: object) -> object:
    """An absolute path, so that a daemon's working folder does not matter later."""
    text = text_or_none(value)
    if not isinstance(text, str):
        return value if isinstance(value, Path) else text
    expanded = os.path.expanduser(text)  # noqa: PTH111 - Path's raises where nobody has a home
    if expanded.startswith("~"):
        raise ValueError("there is no such home folder: write the whole path")
    if flaw := flaw_of_path(expanded):
        raise ValueError(f"it {flaw}")
    return files.absolute(expanded)


Text = Annotated[str | None, BeforeValidator(text_or_none)]
OptionalPath = Annotated[Path | None, BeforeValidator(whole_path)]


class Section(BaseModel):
    """A table of the configuration: frozen, without unknown keys, and never quoted in an error."""

    model_config = ConfigDict(
        defer_build=True,  # the settings as a whole have what a section would build for itself
        frozen=True,
        extra="forbid",
        validate_default=True,
        hide_input_in_errors=True,
        alias_generator=lambda name: re.sub(r"_(?:bytes|bps|s)$", "", name),
    )
