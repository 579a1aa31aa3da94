"""For every test: no fuzzing against the clock, no key of an earlier test, Ctrl-C as usual."""

from __future__ import annotations

import logging
import signal
import sys
from collections import deque
from collections.abc import Generator, Iterator

import pytest
from hypothesis import settings

from uploader.core import redact
from uploader.service.log_writer import LogWriter

settings.register_profile("uploader", deadline=None, max_examples=50, derandomize=True)
settings.load_profile("uploader")

#: Up to so many cases of one test are all tried by `make test`.
_FEW = 2
#: Of more cases than that, one of so many is tried.
_EVERY = 6

pytest_plugins = ("tests.postgresql", "tests.scheme")


def pytest_configure() -> None:
    """A shell that runs the tests in the background ignores Ctrl-C for them and their processes."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--part", default="1/1", help="of the tests, every n-th from the k-th on: k/n")


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> Generator[None]:
    """`-m` chooses in between: of many cases alike, and then one part."""
    _mark_cases_alike(items)
    yield
    first, every = map(int, config.getoption("part").split("/"))
    chosen = items[first - 1 :: every]
    config.hook.pytest_deselected(items=[*set(items) - set(chosen)])
    items[:] = chosen


def _mark_cases_alike(items: list[pytest.Item]) -> None:
    """Of many cases alike `make test` tries every sixth, and `make prove` the others."""
    alike: dict[str, list[pytest.Item]] = {}
    for item in items:
        if not (item.get_closest_marker("long") or item.get_closest_marker("timed")):
            alike.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for cases in alike.values():
        for number, item in enumerate(cases if len(cases) > _FEW else ()):
            if number % _EVERY:
                item.add_marker(pytest.mark.long)


@pytest.fixture(autouse=True)
def no_key_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redact, "_KEYS", deque(maxlen=redact._KEYS.maxlen))


@pytest.fixture(autouse=True)
def libraries_speak_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """After a test of what a worker does with all that is logged."""
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    monkeypatch.setattr(logging, "lastResort", logging.lastResort)
    yield
    logging.captureWarnings(capture=False)
    root = logging.getLogger()
    for one in [*root.handlers]:
        if isinstance(one, LogWriter):
            root.removeHandler(one)
