"""Folders that contain models but are not models: which one was meant."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.model.build import BASE, LORA, brief, cache_snapshot, folder
from uploader.core.job import Kind
from uploader.model.folder import scan
from uploader.model.meant import meant
from uploader.preflight.registry import findings


def aged(path: Path, seconds: int) -> Path:
    os.utime(path, (seconds, seconds))
    return path


def test_the_root_of_a_cache_entry_means_the_revision_of_main(tmp_path: Path) -> None:
    snapshot = cache_snapshot(tmp_path, BASE)
    entry = snapshot.parent.parent
    aged(folder(entry / "snapshots" / "newer", BASE), 9_999_999_999)
    folder(entry / "refs", {"main": b"0e9e39f\n"})
    assert str(meant(entry)) == (
        f"did you mean {snapshot} (the revision of main in Hugging Face's cache)?"
    )


@pytest.mark.parametrize("refs", [{}, {"main": b"gone"}, {"main": b"\xff" * 999}])
def test_without_a_main_the_newest_revision_is_meant(
    tmp_path: Path, refs: dict[str, bytes]
) -> None:
    entry = tmp_path / "models--acme--m"
    folder(entry / "refs", refs)
    aged(folder(entry / "snapshots" / "b", BASE), 1)
    newest = aged(folder(entry / "snapshots" / "a", BASE), 2)
    found = meant(entry)
    assert found
    assert found.path == newest


def test_the_cache_itself_means_its_newest_model(tmp_path: Path) -> None:
    for age, name in enumerate(("b", "a"), start=1):
        folder(tmp_path / f"models--acme--{name}" / "snapshots" / "1", BASE)
        aged(tmp_path / f"models--acme--{name}", age)
    found = meant(tmp_path)
    assert found
    assert found.path == tmp_path / "models--acme--a" / "snapshots" / "1"
    assert found.among == "the newest of 2 models in the cache"


def test_a_run_means_its_last_checkpoint_by_number(tmp_path: Path) -> None:
    for number in (900, 1000, 50):
        folder(tmp_path / f"checkpoint-{number}", BASE)
    folder(tmp_path / "runs", {"events": b"x"})
    assert str(meant(tmp_path)) == (
        f"did you mean {tmp_path / 'checkpoint-1000'} (the newest of 3 checkpoints)?"
    )


def test_several_adapters_mean_the_newest(tmp_path: Path) -> None:
    aged(folder(tmp_path / "french", LORA), 2)
    aged(folder(tmp_path / "german", LORA), 1)
    found = meant(tmp_path)
    assert found
    assert (found.path, found.among) == (tmp_path / "french", "the newest of 2 adapters")


def test_nothing_is_meant_by_a_folder_without_models(tmp_path: Path) -> None:
    folder(tmp_path / "docs", {"a.md": b"x"})
    folder(tmp_path / ".cache", BASE)
    folder(tmp_path / "snapshots", {})
    assert meant(tmp_path) is None
    assert meant(tmp_path / "docs" / "a.md") is None


@pytest.mark.parametrize(
    ("files", "check"),
    [({}, "empty_folder"), ({"README.md": b"x"}, "no_weights")],
)
def test_the_refusal_names_the_folder_that_was_meant(
    tmp_path: Path, files: dict[str, bytes], check: str
) -> None:
    folder(tmp_path, files)
    folder(tmp_path / "checkpoint-7", LORA)
    found = {finding.check: finding for finding in findings(scan(tmp_path), Kind.BASE)}
    assert found[check].hint.startswith(f"did you mean {tmp_path / 'checkpoint-7'} ")


def test_a_folder_of_adapters_named_a_lora_is_reported_too(tmp_path: Path) -> None:
    folder(tmp_path, {"adapter_config.json": LORA["adapter_config.json"]})
    folder(tmp_path / "adapter", LORA)
    found = findings(scan(tmp_path), Kind.LORA)
    assert brief(found) == [("adapter_weights", "error", None)]
    assert "did you mean" in found[0].hint
