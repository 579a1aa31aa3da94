"""The printed command is all that is needed to see a failure of the simulations again."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from tests.simulation.again import REPLAY, Case, crash_points, each
from tests.simulation.lab import simulated

HERE = "tests/simulation/test_again.py"


@pytest.fixture(autouse=True)
def nothing_is_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(REPLAY, raising=False)


def told(error: BaseException) -> list[str]:
    """The words of the command that a failure came with."""
    commands = [note for note in error.__notes__ if note.startswith("again: ")]
    assert len(commands) == 1
    assert "\n" not in commands[0]
    return shlex.split(commands[0])[1:]


@pytest.mark.parametrize("world", ["a world"])
def test_a_failing_life_names_its_test(source: Path, world: str) -> None:
    with pytest.raises(ArithmeticError) as caught, simulated(source, 1):
        raise ArithmeticError(world)
    node = f"{HERE}::test_a_failing_life_names_its_test[a world]"
    assert told(caught.value) == [".venv/bin/pytest", node]


def fails_in_the(third: Case, source: Path, lived: list[Case]) -> None:
    def live(*case: int | str) -> None:
        lived.append(case)
        with simulated(source, 1):
            if case == third:
                raise ArithmeticError

    each(live, [(1, "put"), (2, "put", 7), third, (4, "put")])


def test_a_failing_life_of_many_is_replayed_alone(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    third, lived = (3, "session", 7), list[Case]()
    with pytest.raises(ArithmeticError) as caught:
        fails_in_the(third, source, lived)
    assert lived[-1] == third
    variable, program, node = told(caught.value)
    assert variable == f"{REPLAY}=3,session,7"
    assert [program, node] == [
        ".venv/bin/pytest",
        f"{HERE}::test_a_failing_life_of_many_is_replayed_alone",
    ]
    monkeypatch.setenv(*variable.split("="))
    lived.clear()
    with pytest.raises(ArithmeticError) as caught_again:
        fails_in_the(third, source, lived)
    assert lived == [third]
    assert told(caught_again.value) == told(caught.value)


def test_a_life_that_nothing_disturbs_is_replayed_by_the_whole_test(source: Path) -> None:
    def live(*_: int) -> int:
        with simulated(source, 1):
            raise ArithmeticError

    with pytest.raises(ArithmeticError) as caught:
        each(live, crash_points(live, 0, 8))
    assert len(told(caught.value)) == 2


def test_the_parts_of_an_enumeration_are_the_whole_of_it() -> None:
    met = [case for part in range(4) for case in crash_points(lambda: 10, part, 4)]
    assert sorted(met) == [(number,) for number in range(1, 11)]
