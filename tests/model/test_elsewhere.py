"""A path that names a model elsewhere is answered with the command that fetches it."""

from __future__ import annotations

from pathlib import Path

import pytest

from uploader.core.errors import NotFound
from uploader.model.elsewhere import advice, as_given
from uploader.model.folder import scan


@pytest.mark.parametrize(
    ("given", "fetch"),
    [
        ("s3://bucket/models/llama/", "`aws s3 sync s3://bucket/models/llama ./llama`"),
        ("s3://b/two words", "`aws s3 sync 's3://b/two words' './two words'`"),
        ("gs://bucket/m", "`gcloud storage rsync --recursive gs://bucket/m ./m`"),
        ("hf://org/model", "`hf download org/model --local-dir ./model`"),
        ("hf://models/org/model/sub", "`hf download org/model --local-dir ./model`"),
        ("https://huggingface.co/org/model", "`hf download org/model --local-dir ./model`"),
        ("https://hf.co/org/m-1.5/tree/main", "`hf download org/m-1.5 --local-dir ./m-1.5`"),
        ("org/model", "`hf download org/model --local-dir ./model`"),
    ],
)
def test_the_command_that_fetches_it_is_named(given: str, fetch: str) -> None:
    hint = advice(Path(given))
    assert fetch in hint
    assert "then `uploader enqueue " in hint


@pytest.mark.parametrize("given", ["./model", "a/b/c", "model", "/a/b", "../org/model"])
def test_any_other_path_is_a_folder_that_is_not_there(given: str) -> None:
    assert "hf download" not in advice(Path(given) if given != "./model" else Path("model"))


def test_a_folder_that_is_there_is_not_an_organisation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    assert "hf download" not in advice(Path("runs/last"))


def test_other_addresses_are_told_what_is_taken() -> None:
    assert advice(Path("ftp://host/m")).endswith("this machine: download the model first")
    assert advice(Path("file:///data/m")).endswith("give its path, /data/m")


def test_the_error_names_the_address_as_it_was_given() -> None:
    assert as_given(Path("s3://b/m")) == "s3://b/m"
    with pytest.raises(NotFound, match="no folder s3://b/m: "):
        scan(Path("s3://b/m"))
