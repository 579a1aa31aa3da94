"""The JSON document about hooks; see documents.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from typing_extensions import TypedDict

from uploader.core.documents import Time
from uploader.core.hooks import HookState
from uploader.core.text import timestamp


class HookJson(TypedDict):
    """One hook. Its URL or command may be a secret and is never shown."""

    name: Annotated[str, "Its name."]
    kind: Annotated[Literal["command", "webhook", "ping", "apprise"], "How it is told."]
    on: Annotated[list[str], "What it is told of."]
    waiting: Annotated[int, "How many deliveries wait for it."]
    off: Annotated[bool, "Whether its receiver answered 410; `uploader hooks retry` ends that."]
    last_error: Annotated[str | None, "Why the last try failed; null if it did not."]
    last_at: Annotated[Time | None, "When it was last told, or tried."]


class HooksDocument(TypedDict):
    """`uploader hooks list --json`: the hooks of the configuration."""

    schema: Annotated[Literal["uploader.hooks/1"], "The name and version of this document."]
    hooks: Annotated[list[HookJson], "In the order of the configuration."]


def hooks_document(
    hooks: Sequence[tuple[str, str, Sequence[str]]], states: Sequence[HookState]
) -> HooksDocument:
    """Of (name, kind, on) of each hook, and how those stand that are known to the store."""
    known = {state.name: state for state in states}
    return {
        "schema": "uploader.hooks/1",
        "hooks": [_hook(name, kind, on, known.get(name)) for name, kind, on in hooks],
    }


def _hook(name: str, kind: str, on: Sequence[str], state: HookState | None) -> HookJson:
    at = state.last_at if state else None
    return {
        "name": name,
        "kind": kind,  # type: ignore[typeddict-item] # one of them
        "on": [str(one) for one in on],
        "waiting": state.waiting if state else 0,
        "off": bool(state and state.off),
        "last_error": state.last_error if state else None,
        "last_at": Time(timestamp(at)) if at else None,
    }
