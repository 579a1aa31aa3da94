"""What is read of a folder's small files, and what of it is kept: all of them have one bound."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from tests.model.build import BASE, SHARDED, check, folder
from uploader import files
from uploader.core.job import Kind
from uploader.model.folder import scan
from uploader.model.names import TOKENIZERS, needed
from uploader.model.reading import TooLong, read_object
from uploader.preflight import contents as contents_room
from uploader.preflight.contents import Contents
from uploader.preflight.registry import findings

JSON = [name for name in BASE if name.endswith(".json")]
LONG = b'{"architectures": ["LlamaForCausalLM"], "chat_template": "' + b"x" * 300_000 + b'"}'
_DEADLINE_S = 20.0
VALUES = b'{"a": [' + b",".join([b"0"] * 1000) + b"]}"


def test_no_json_is_parsed_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []

    def read(path: Path, *how: Any) -> dict[str, Any]:
        parsed.append(path.name)
        return read_object(path, *how)

    monkeypatch.setattr(contents_room, "read_object", read)
    assert not check(tmp_path, {**BASE, **dict.fromkeys(JSON, LONG)})
    assert sorted(parsed) == sorted(JSON)


def test_no_more_json_is_parsed_than_of_any_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the others, only the ends are looked at."""
    monkeypatch.setattr(contents_room, "_OBJECTS_BYTES", 400_000)
    inside = LONG.replace(b"xxx", b"x\\x", 1)  # is not JSON, but begins and ends like it
    files = {**BASE, "generation_config.json": LONG, "tokenizer.json": inside}
    assert not check(tmp_path / "ends", files)
    (found,) = check(tmp_path / "cut", {**files, "tokenizer.json": LONG[:-1]})
    assert (found.check, found.file, "cut short" in found.message) == (
        "broken_json",
        "tokenizer.json",
        True,
    )


def test_the_values_that_are_kept_of_a_folder_and_a_base_model_have_one_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents_room, "_KEPT_VALUES", 1500)
    seen = scan(folder(tmp_path, {**BASE, "config.json": VALUES, "tokenizer.json": VALUES}))
    contents = Contents(seen, Kind.BASE, seen)
    contents.look_at("tokenizer.json")  # nothing of it is kept
    assert contents.config
    assert contents.base
    assert not contents.base.config
    assert isinstance(contents.base.trouble["config.json"], TooLong)


def test_no_pattern_makes_a_json_one_that_is_read() -> None:
    """A file may have any number of names."""
    assert not any(glob.endswith(("*", ".json")) for glob in TOKENIZERS if {*"*?["} & {*glob})
    assert not any(map(needed, ("tokenizer.model.v1.json", "tokenizer.model.v1x2.json")))
    assert all(map(needed, ("tokenizer.model.v3", "tokenizer.model.v11", "tokenizer.model.v7m1")))


def test_a_disk_that_does_not_answer_keeps_no_other_folder_from_being_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever of the folder is read when it ceases to answer."""
    names = {**SHARDED, "small.txt": b"version"}
    good, hung = (scan(folder(tmp_path / name, names), ["*"]) for name in ("good", "hung"))
    may, waits = threading.Event(), threading.Semaphore(0)
    opens = files.descriptor_of
    reads = files.read

    def wait_for(path: Path) -> None:
        if path.parent == hung.root and path.name == silent:
            waits.release()
            assert may.wait(_DEADLINE_S)

    def open_it(path: Path, *how: Any, **more: Any) -> int:
        wait_for(path)
        return opens(path, *how, **more)

    def read_it(path: Path, *how: Any, **more: Any) -> Any:
        wait_for(path)
        return reads(path, *how, **more)

    monkeypatch.setattr(files, "descriptor_of", open_it)
    monkeypatch.setattr(files, "read", read_it)
    try:
        for silent in names:
            threading.Thread(target=findings, args=(hung, Kind.BASE), daemon=True).start()
            assert waits.acquire(timeout=_DEADLINE_S), silent
            check_good = threading.Thread(target=findings, args=(good, Kind.BASE), daemon=True)
            check_good.start()
            check_good.join(_DEADLINE_S)
            assert not check_good.is_alive(), silent
    finally:
        may.set()
