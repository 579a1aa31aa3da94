"""One control-plane call, after admission and parsing, as the verbs get it."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

from uploader.sandbox import refusals
from uploader.sandbox.refusals import Refused, grpc, invalid
from uploader.sandbox.wire import Request
from uploader.sandbox.world import Model, World


@dataclass
class Call:
    """One control-plane call: the names in its path, and the parsed JSON body."""

    world: World
    request: Request
    account: str = ""
    model_id: str = ""
    body: dict[str, Any] = field(default_factory=dict)

    def model(self) -> Model:
        """The model of the path. Raises Refused: 404, code 5."""
        model = self.world.models.get((self.account, self.model_id))
        if model is None:
            raise Refused(grpc(refusals.NOT_FOUND, "resource not found"))
        return model

    def query(self, *known: str) -> dict[str, str]:
        """The parameters of the URL. Raises Refused for one that this call does not take."""
        query = self.request.query
        check_names("parameter", query.keys(), frozenset(known))
        return query


def check_names(what: str, given: AbstractSet[str], known: AbstractSet[str]) -> None:
    """Raises Refused (INVALID_ARGUMENT) for a name that is not known."""
    if unknown := given - known:
        raise invalid(f"unknown {what} {min(unknown)!r:.100}")
