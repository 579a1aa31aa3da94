from __future__ import annotations

import ast
from pathlib import Path

from uploader.core.events import EventKind, Level, Teller, level_of, render_table

ROOT = Path(__file__).parents[2] / "uploader"
#: Written out once more: the history of a store keeps every word that was ever told.
WORDS = (
    *("enqueued", "paused", "resumed", "cancelled", "retried", "rescanned", "kept", "edited"),
    "replaced",
    *(
        "account",
        "deleted",
        "recreated",
        "created",
        "adopted",
        "fell_back",
        "validating",
        "not_ready_yet",
    ),
    *("ready", "retrying", "blocked", "failed", "left_open", "model_kept", "closed"),
    *(
        "session_opened",
        "session_resumed",
        "session_dropped",
        "sessions_lost",
        "put_halved",
        "costly_put",
        "stored",
        "file_failed",
    ),
    *("reidentified", "rescued", "hook_failed", "healed", "unreadable"),
)


def test_the_kinds_are_the_words_that_readers_of_a_history_know() -> None:
    assert tuple(map(str, EventKind)) == WORDS


def test_every_kind_is_reported_at_exactly_one_place() -> None:
    """A kind that two verbs tell means two things.

    `core` names kinds and writes none; `store/believed.py` sets aside jobs that no worker may hold,
    and tells it as the worker would have; `service/hooks/sample.py` shows a receiver what it would
    be told, and writes none.
    """
    names = ("core/events.py", "core/hooks.py", "store/believed.py", "service/hooks/sample.py")
    others = [ROOT / name for name in names]
    told = [
        node.attr
        for path in sorted(ROOT.rglob("*.py"))
        if path not in others
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "EventKind"
    ]
    assert sorted(told) == sorted(EventKind.__members__)


def test_every_kind_says_who_tells_it_and_when() -> None:
    assert {kind.teller for kind in EventKind} == set(Teller)
    for kind in EventKind:
        assert f"| `{kind}` | {kind.teller} | {level_of(kind)} | {kind.when} |" in render_table()
        assert len(kind.when) > 15


def test_only_what_went_wrong_is_loud() -> None:
    assert {kind for kind in EventKind if level_of(kind) is Level.ERROR} == {"failed", "blocked"}
    assert level_of("retrying") is level_of("file_failed") is Level.WARNING
    steps = ("enqueued", "created", "session_opened", "stored", "validating", "not_ready_yet")
    assert {level_of(kind) for kind in (*steps, "ready", "of a later version")} == {Level.INFO}
