"""Private files are known without waiting for their disks."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from uploader import files
from uploader.core.errors import NoThread, Stopped
from uploader.model import identities
from uploader.model.identities import Identities
from uploader.model.links import Private
from uploader.runtime import StopToken, SystemClock
from uploader.threads import spawn


@pytest.fixture(autouse=True)
def asked_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identities, "_FRESH_S", 0.0)


def identity(path: Path) -> tuple[int, int]:
    facts = path.stat()
    return facts.st_dev, facts.st_ino


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with a key, whose disk may fall silent."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "key").write_text("k")
    return tmp_path / "home"


@pytest.fixture
def silence(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """The disk of ``home`` does not answer while this is not set; it is set at first."""
    answers, stat = threading.Event(), os.stat
    answers.set()

    def waits(path: Any, *of: Any, **how: Any) -> os.stat_result:
        if Path(path).is_relative_to(home):
            assert answers.wait(60)
        return stat(path, *of, **how)

    monkeypatch.setattr(os, "stat", waits)
    yield answers
    answers.set()


def test_a_disk_that_falls_silent_keeps_no_file_waiting_and_what_it_said_last_counts(
    home: Path, tmp_path: Path, silence: threading.Event
) -> None:
    store, other = tmp_path / "store", tmp_path / "other"
    store.write_text("s")
    other.write_text("o")
    private = Identities([home / "key", store])
    key = identity(home / "key")
    assert private.hold(key)
    silence.clear()
    began_s = SystemClock().boot_s()
    for _ in range(20):
        assert private.hold(key)
        assert private.hold(identity(store))
        assert not private.hold(identity(other))
    assert SystemClock().boot_s() - began_s < 10
    silence.set()


def test_a_disk_that_takes_long_for_its_first_answer_is_waited_for(
    home: Path, silence: threading.Event
) -> None:
    key = identity(home / "key")
    silence.clear()
    threading.Timer(1.5, silence.set).start()
    assert Identities([home / "key"]).hold(key)


def test_a_path_on_a_silent_disk_keeps_its_neighbour_from_nothing(
    home: Path, tmp_path: Path, silence: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identities, "_FIRST_S", 0.2)
    silence.clear()
    (tmp_path / "key").write_text("k")
    assert Identities([home / "key", tmp_path / "key"]).hold(identity(tmp_path / "key"))


def test_however_often_a_silent_disk_is_asked_about_one_thread_waits_for_it(
    home: Path, tmp_path: Path, silence: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def counted(name: str, run: Callable[[], None]) -> None:
        asked.append(name)
        spawn(name, run)

    monkeypatch.setattr(identities, "spawn", counted)
    monkeypatch.setattr(identities, "_FIRST_S", 0.2)
    (tmp_path / "other").write_text("o")
    other = (tmp_path / "other").stat()
    silence.clear()
    for _ in range(5):  # as each look at a folder does
        assert not Private((home / "key",)).holds(other)
    assert len(asked) == 1
    silence.set()
    key, until_s = (home / "key").stat(), SystemClock().boot_s() + 30
    while not Private((home / "key",)).holds(key):
        assert SystemClock().boot_s() < until_s


def test_a_folder_stands_for_the_files_in_it(home: Path, silence: threading.Event) -> None:
    """An editor may leave copies next to a key, and links may lead from there."""
    private = Identities([home])
    (home / "nowhere").symlink_to(home / "absent")
    (home / "key~").write_text("k")
    copy = identity(home / "key~")
    assert private.hold(copy)
    assert not private.hold(identity(home.parent))
    silence.clear()
    assert private.hold(copy)
    assert not private.hold(identity(home.parent))


def test_a_link_to_a_silent_disk_hides_no_other_file_of_a_private_folder(
    home: Path, tmp_path: Path, silence: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identities, "_FIRST_S", 0.2)
    private = tmp_path / "private"
    private.mkdir()
    for name in "adgjmpsvy":
        (private / name).write_text("k")
        (private / f"{name}~").symlink_to(home / "key")
    silence.clear()
    known = Identities([private])
    until_s = SystemClock().boot_s() + 30
    for name in "adgjmpsvy":
        while not known.hold(identity(private / name)):
            assert SystemClock().boot_s() < until_s


def test_a_look_at_a_folder_that_is_given_up_hides_no_private_file(home: Path) -> None:
    """It may touch nothing more itself; what is private is found out all the same."""
    stop, touched = StopToken(), list[str]()
    stop.stop()

    def refuse(path: str) -> AbstractContextManager[None]:
        touched.append(path)
        raise Stopped

    private, key = Identities([home]), identity(home / "key")
    with files.looking(stop, refuse):
        assert private.hold(key)
    assert private.hold(key)
    assert touched == []


def test_a_file_that_is_made_anew_is_known_again(home: Path) -> None:
    private = Private((home / "key", home / "absent"))
    before = (home / "key").stat()
    assert private.holds(before)
    (home / "fresh").write_text("k2")
    (home / "fresh").rename(home / "key")
    assert private.holds((home / "key").stat())
    (home / "absent").write_text("now there")
    assert private.holds((home / "absent").stat())


def test_without_a_thread_the_disk_is_asked_by_who_wants_to_know(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise NoThread("no more")

    monkeypatch.setattr(identities, "spawn", refuse)
    assert Identities([home / "key"]).hold(identity(home / "key"))
