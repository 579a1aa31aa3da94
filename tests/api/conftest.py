"""Python calls in a home of their own."""

from __future__ import annotations

from tests.cli.conftest import home, model, sql, store, template

__all__ = ["home", "model", "sql", "store", "template"]
