"""Of a few dear cases alike `make test` tries some, and `make prove` the others."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def thinned(cases: Iterable[Any], every: int) -> list[Any]:
    """The cases of one parameter, all but each ``every``-th of them marked as long."""
    return [
        pytest.param(case, marks=[pytest.mark.long] if number % every else [])
        for number, case in enumerate(cases)
    ]
