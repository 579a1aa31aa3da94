from __future__ import annotations

import re
from itertools import pairwise

import pytest

from uploader.core.errors import VerbRefused
from uploader.core.exits import Exit
from uploader.core.job import OPEN_STATUSES, Stage, Status
from uploader.core.lifecycle import (
    GOALS,
    NEXT_STAGE,
    TRANSITIONS,
    Verb,
    advance,
    already,
    render_mermaid,
    sources,
)

#: Written out once more, so that an edge lost from the table is seen here.
LEGAL = {
    (Status(status), Verb(verb)): Status(after)
    for status, verb, after in (
        ("active", "block", "blocked"),
        ("active", "fail", "failed"),
        ("active", "finish", "done"),
        ("active", "pause", "paused"),
        ("active", "cancel", "cancelled"),
        ("active", "resume", "active"),
        ("active", "retry", "active"),
        ("active", "rescan", "active"),
        ("paused", "pause", "paused"),
        ("paused", "resume", "active"),
        ("paused", "rescan", "active"),
        ("paused", "cancel", "cancelled"),
        ("blocked", "heal", "active"),
        ("blocked", "retry", "active"),
        ("blocked", "rescan", "active"),
        ("blocked", "pause", "paused"),
        ("blocked", "cancel", "cancelled"),
        ("failed", "retry", "active"),
        ("failed", "rescan", "active"),
        ("failed", "cancel", "cancelled"),
        ("cancelled", "cancel", "cancelled"),
    )
}
ILLEGAL = [(status, verb) for status in Status for verb in Verb if (status, verb) not in LEGAL]


@pytest.mark.parametrize(("move", "after"), LEGAL.items(), ids=map(":".join, LEGAL))
def test_a_legal_move(move: tuple[Status, Verb], after: Status) -> None:
    assert advance(*move) is after


@pytest.mark.parametrize(("status", "verb"), ILLEGAL)
def test_an_illegal_move_says_what_to_do_and_changes_nothing(status: Status, verb: Verb) -> None:
    before = {one: dict(row) for one, row in TRANSITIONS.items()}
    with pytest.raises(VerbRefused) as caught:
        advance(status, verb)
    assert f"{status} job" in caught.value.message
    assert f"'{verb}'" in caught.value.message
    assert caught.value.hint
    assert caught.value.exit_code is Exit.VERB_REFUSED
    assert before == TRANSITIONS


#: What the hint of a refused verb speaks of: commands, and what is not a command.
ADVICE = {
    Status.ACTIVE: ["status"],
    Status.PAUSED: ["resume"],
    Status.BLOCKED: ["retry"],
    Status.FAILED: ["retry", "cancel"],
    Status.CANCELLED: ["enqueue", "remove"],
    Status.DONE: ["READY", "remove"],
}


@pytest.mark.parametrize(("status", "advice"), ADVICE.items())
def test_a_refusal_advises_only_what_is_legal(status: Status, advice: list[str]) -> None:
    refused = next(verb for one, verb in ILLEGAL if one is status)
    with pytest.raises(VerbRefused) as caught:
        advance(status, refused)
    assert re.findall(r"enqueue|READY|(?<=`uploader )\w+(?=`)", caught.value.hint) == advice
    assert all((status, verb) in LEGAL for verb in Verb if verb.value in advice)


@pytest.mark.parametrize(("verb", "goal"), GOALS.items())
@pytest.mark.parametrize("status", Status)
def test_a_verb_that_asks_for_a_status_succeeds_a_second_time(
    status: Status, verb: Verb, goal: Status
) -> None:
    if (status, verb) in LEGAL:
        assert already(advance(status, verb), verb)
        assert advance(goal, verb) is goal
    assert already(status, verb) is (status is goal)


def test_another_try_is_never_there_already() -> None:
    assert not any(already(status, verb) for status in Status for verb in set(Verb) - set(GOALS))


def test_every_status_has_a_row_and_can_be_reached() -> None:
    assert set(TRANSITIONS) == set(Status)
    reached = {Status.ACTIVE}
    while more := {after for one in reached for after in TRANSITIONS[one].values()} - reached:
        reached |= more
    assert reached == set(Status)


def test_an_open_job_can_come_back_and_a_closed_one_cannot() -> None:
    for status in Status:
        can_return = Status.ACTIVE in TRANSITIONS[status].values()
        assert can_return is (status in OPEN_STATUSES)


@pytest.mark.parametrize("verb", Verb)
def test_the_sources_of_a_verb_are_where_it_is_legal(verb: Verb) -> None:
    assert sources(verb)
    assert sources(verb) == tuple(one for one in Status if (one, verb) in LEGAL)


def test_stages_only_move_forward_and_through_all() -> None:
    assert dict(pairwise(Stage)) == NEXT_STAGE


def test_the_diagram_has_every_edge_and_no_other() -> None:
    lines = [line.strip() for line in render_mermaid().splitlines()]
    edges = {f"{status} --> {after}: {verb}" for (status, verb), after in LEGAL.items()}
    stages = {f"{stage} --> {after}" for stage, after in NEXT_STAGE.items()}
    drawn = [line for line in lines if "-->" in line]
    inside = lines[lines.index("state active {") + 1 : lines.index("}")]
    assert set(inside) == stages
    assert set(drawn) == edges | stages | {"[*] --> active: enqueue"}
    assert len(drawn) == len(set(drawn))
    assert lines[0] == "stateDiagram-v2"
