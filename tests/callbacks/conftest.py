"""A trainer's events in a home of their own."""

from __future__ import annotations

from tests.cli.conftest import home, model, store, template

__all__ = ["home", "model", "store", "template"]
