"""Fault scripts: what is accepted, and which exchange a fault fires on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from uploader.sandbox.script import Script, ScriptError, read_script


def fired(script: Script, *names: str) -> list[bool]:
    return [script.take("put", name) is not None for name in names]


@pytest.mark.parametrize(
    ("fault", "fires"),
    [
        ({}, [True, False, False, False]),
        ({"nth": 2}, [False, True, False, False]),
        ({"nth": 2, "times": 2}, [False, True, True, False]),
        ({"times": 0}, [True, True, True, True]),
        ({"match": "b"}, [False, True, False, False]),
        ({"match": "a", "nth": 2}, [False, False, True, False]),
        ({"on": "query"}, [False, False, False, False]),
    ],
)
def test_counting(fault: dict[str, Any], fires: list[bool]) -> None:
    script = Script([{"on": "put", "do": "status", **fault}])
    assert fired(script, "a", "b", "a", "c") == fires


def test_every_fault_counts_and_the_first_that_fires_is_applied() -> None:
    script = Script(
        [
            {"on": "put", "do": "status", "nth": 2},
            {"on": "put", "do": "cut", "nth": 2, "times": 2},
        ]
    )
    taken = [script.take("put", "a") for _ in range(4)]
    assert [fault.do if fault else None for fault in taken] == [None, "status", "cut", None]


def test_add_and_clear() -> None:
    script = Script()
    script.add([{"on": "put", "do": "status", "times": 0}])
    assert fired(script, "a") == [True]
    script.clear()
    assert fired(script, "a") == [False]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"on": "put", "do": "explode"}, "unknown fault 'explode'"),
        ({"on": "create", "do": "cut"}, "'cut' cannot happen on 'create'"),
        ({"on": "lunch", "do": "status"}, "'status' cannot happen on 'lunch'"),
        ({"on": "put", "do": "cut", "att_byte": 1}, "'cut' does not take att_byte"),
        ({"on": "put", "do": "cut", "nth": "1"}, "integer from 1 on, not '1'"),
        ({"do": "cut"}, 'with "on" and "do"'),
        ("cut", 'with "on" and "do"'),
    ],
)
def test_a_wrong_fault_is_named_and_nothing_is_added(fault: Any, words: str) -> None:
    script = Script()
    with pytest.raises(ScriptError, match=words):
        script.add([{"on": "put", "do": "status"}, fault])
    assert fired(script, "a") == [False]


def test_reading_a_script(tmp_path: Path) -> None:
    faults = [{"on": "put", "do": "status"}]
    path = tmp_path / "faults.json"
    path.write_text(json.dumps(faults))
    assert read_script(path) == read_script(json.dumps(faults)) == faults
    assert read_script(None) == read_script("") == []
    path.write_text("{}")
    with pytest.raises(ScriptError, match="not a JSON list"):
        read_script(path)
    with pytest.raises(ScriptError, match="not JSON"):
        read_script("[")
    path.unlink()
    with pytest.raises(ScriptError, match=r"faults\.json cannot be read: No such file"):
        read_script(path)


def test_chaos_is_seeded_and_leaves_the_switchboard_alone() -> None:
    def invented(seed: int) -> list[str | None]:
        script = Script(seed=seed)
        taken = [script.take("put", "a", chaos=0.5) for _ in range(40)]
        return [f"{fault.do} {fault.at_byte}" if fault else None for fault in taken]

    assert invented(1) == invented(1) != invented(2)
    assert Script().take("sandbox", "a", chaos=1.0) is None


@pytest.mark.parametrize(
    "fault",
    [
        {"body": "\ud800"},
        {"body": {"a": ["\udfff"]}},
        {"body": {"\ud800": 1}},
        {"body": float("nan")},
        {"body": b"bytes"},
        {"reason": "\ud800"},
        {"match": "\ud800"},
        {"nth": 2**63},
        {"times": 10**400},
        {"do": "oversize-answer", "size": 2**30 + 1},
        {"do": "gzip-answer", "size": 10**300},
        {"do": "\ud800"},
        {"on": "\ud800"},
    ],
)
def test_what_cannot_be_put_on_the_wire_is_refused_at_the_door(fault: dict[str, Any]) -> None:
    with pytest.raises(ScriptError) as raised:
        Script([{"on": "get", "do": "status", **fault}])
    assert str(raised.value).isascii() or "…" in str(raised.value)
    assert len(str(raised.value)) < 2000
