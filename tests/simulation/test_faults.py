"""Every fault at every step, first, in the middle and last; and storms of them by seed."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from tests.engine.conftest import GRANULE
from tests.simulation.again import Case, each
from tests.simulation.lab import SimLab, simulated
from tests.simulation.oracle import assert_all_is_well
from uploader.sandbox.kinds import ANYWHERE as ANY_EXCHANGE
from uploader.sandbox.kinds import KINDS

CONTROL = ("create", "get", "urls", "validate")
STORAGE = ("start", "put", "query")
ANYWHERE: tuple[dict[str, Any], ...] = (
    {"do": "reset-before"},
    {"do": "reset-after"},
    {"do": "lost-answer"},
    {"do": "latency", "seconds": 30},
    *({"do": "status", "status": status} for status in (408, 500, 502, 503, 504, 511)),
    {"do": "status", "status": 429, "retry_after": 7},
    {"do": "status-after"},
    *({"do": "middle-box", "status": status} for status in (200, 403, 511)),
    *({"do": "middle-box", "status": status, "retry_after": 7} for status in (429, 503)),
    {"do": "hanging-headers", "seconds": 1},
    {"do": "slow-answer", "seconds": 1},
    {"do": "oversize-answer", "size": 100_000},
    {"do": "gzip-answer", "size": 1000},
    {"do": "endless-answer"},
)
ONLY_ON: dict[str, tuple[dict[str, Any], ...]] = {
    **dict.fromkeys(CONTROL, ({"do": "malformed-json"},)),
    "start": ({"do": "expired-url"},),
    "put": (
        {"do": "cut", "at_byte": 0},
        {"do": "cut", "at_byte": 300_000},
        {"do": "stall", "at_byte": 1, "seconds": 60},
        {"do": "drip", "seconds": 1},
        {"do": "short-308"},
        {"do": "no-range-308"},
        {"do": "lost-range"},
        {"do": "no-finish"},
        {"do": "wrong-hash"},
        {"do": "status-after", "status": 200},
        *({"do": "status", "status": status} for status in (200, 201)),
        {"do": "store-and-forward", "bytes_per_s": 100_000},
        {"do": "dead-session", "at_byte": 262_144},
        *({"do": "dead-session", "status": status} for status in (404, 410, 499)),
    ),
    "query": (
        {"do": "growing-ack"},
        {"do": "lost-range"},
        {"do": "status", "status": 200},
        {"do": "wrong-hash"},
        *({"do": "dead-session", "status": status} for status in (404, 410, 499)),
    ),
}
#: What two undisturbed jobs of a simulation never ask for.
_NEVER_ASKED = "list delete update prepare download accounts verify cancel read"
NOT_HERE = frozenset(_NEVER_ASKED.split())
#: What cannot be played here, and why; it is played in `tests/engine`.
PLAYED_ELSEWHERE = {
    ("urls", "other-paths"): "the oracle compares objects at one path (test_upload.py)",
    ("put", "expired-url"): "only a plain PUT has a URL that expires (test_pipeline.py)",
}
FAULTS = [{"on": on, **f} for on in (*CONTROL, *STORAGE) for f in (*ANYWHERE, *ONLY_ON.get(on, ()))]
#: So that every file is asked about once: sessions are queried only after doubt.
DOUBT = {"on": "put", "do": "cut", "at_byte": 9, "nth": 2, "times": 3}
STORMS = int(os.environ.get("UPLOADER_TEST_STORMS", "16"))


def prepare(lab: SimLab, on: str, *faults: dict[str, Any]) -> None:
    lab.world.script.add([*faults, *([DOUBT] if on == "query" else [])])


def count(source: Path, on: str) -> int:
    """How many such exchanges an undisturbed life has."""
    with simulated(source, 1) as lab:
        prepare(lab, on)
        lab.run_through()
        return sum(f": {on} before" in step for step in lab.sim.trace)


def test_every_kind_of_fault_is_played_on_every_exchange_of_an_upload() -> None:
    played = {(fault["on"], fault["do"]) for fault in FAULTS}
    known = {(on, do) for do, kind in KINDS.items() for on in {*kind.on} - NOT_HERE}
    assert {*CONTROL, *STORAGE} == {*ANY_EXCHANGE} - NOT_HERE
    assert played == known - PLAYED_ELSEWHERE.keys()


@pytest.fixture(scope="module")
def exchanges(source: Path) -> dict[str, int]:
    return {on: count(source, on) for on in (*CONTROL, *STORAGE)}


@pytest.mark.long
@pytest.mark.parametrize(
    "fault", FAULTS, ids=lambda fault: "-".join(str(value) for value in fault.values())
)
def test_every_fault_first_in_the_middle_and_last(
    source: Path, exchanges: dict[str, int], fault: dict[str, Any]
) -> None:
    last = exchanges[fault["on"]]
    assert last > 0

    def live(nth: int) -> None:
        with simulated(source, 1) as lab:
            prepare(lab, fault["on"], {**fault, "nth": nth})
            lab.run_through()
            assert_all_is_well(lab, bounded=fault["on"] not in ("put", "query"))

    each(live, ((nth,) for nth in sorted({1, (1 + last) // 2, last})))


@pytest.mark.long
@pytest.mark.parametrize("do", ["status", "middle-box"])
@pytest.mark.parametrize("crash_at", [None, 30, 45])
def test_puts_that_are_too_large_get_shorter_through_a_crash_too(
    source: Path, monkeypatch: pytest.MonkeyPatch, do: str, crash_at: int | None
) -> None:
    """Halved down to a granule: the files of a simulation are small."""
    monkeypatch.setattr("uploader.core.resumable.LEAST_PUT_BYTES", GRANULE)
    too_large = [
        {"on": "put", "do": do, "status": 413, "match": f"{model}/a.bin"}
        for model in ("one", "two")
    ]
    with simulated(source, 1) as lab:
        prepare(lab, "put", *too_large)
        lab.run_through(*([crash_at] if crash_at else []))
        assert_all_is_well(lab, bounded=False)
        halved = sum(event.kind == "put_halved" for event in lab.jobs.events())
        assert halved == 2 or crash_at  # a crash may come before the event, after the refusal


def storm(source: Path, seed: int, kind: str, *crash_at: int) -> None:
    """A fault in every fifth exchange, and a crash now and then."""
    with simulated(source, seed, url_kind=kind, chaos=0.2) as lab:
        lab.run_through(*crash_at)
        assert_all_is_well(lab, bounded=False)


def storms(dice: random.Random) -> Iterator[Case]:
    while True:
        seed, kind = dice.randrange(1 << 30), dice.choice(("resumable", "session", "put"))
        yield seed, kind, *(dice.randrange(1, 150) for _ in range(3))


@pytest.mark.long
@pytest.mark.parametrize("part", range(4))
def test_storms(source: Path, part: int) -> None:
    drawn = islice(storms(random.Random(f"storm {part}")), max(1, STORMS // 4))
    each(partial(storm, source), drawn)
