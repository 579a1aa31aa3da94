"""What is wrong with this machine, this configuration or this account: one line per thing.

Each module yields its checks, in order; none stops at the first that fails, and none changes
anything. `examine` has them all.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from uploader import wiring
from uploader.service.doctor import machine, service, setup

if TYPE_CHECKING:
    from uploader.core.doctor_documents import Check
    from uploader.settings.schema import Settings


def examine(settings: Settings) -> Iterator[Check]:
    """Every check, as soon as it is done."""
    with wiring.Store(settings) as store:
        yield from setup.checks(settings, store)
        yield from machine.checks(settings)
        yield from service.checks(settings, store)
