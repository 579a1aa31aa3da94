from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uploader.core.errors import UsageError
from uploader.core.job import MODEL_ID
from uploader.model.model_id import check_model_id, derive_model_id

DERIVED = [
    ("my-model", "my-model"),
    ("Meta-Llama-3.1-8B_Instruct", "meta-llama-3p1-8b-instruct"),
    ("llama-v3.1", "llama-v3p1"),
    ("v.1..2", "v-1-2"),
    ("--a__b  c--", "a-b-c"),
    ("7b-chat", "model-7b-chat"),
    ("2024", "model-2024"),
    ("a" * 80, "a" * 63),
    ("a" * 62 + "-b", "a" * 62),
    ("models--acme--Qwen2.5-7B/snapshots/0e9e39f249a1", "qwen2p5-7b"),
    ("models--gpt2/snapshots/0e9e39f249a1", "gpt2"),
    ("models--acme--Qwen2.5-7B", "qwen2p5-7b"),
    ("My.Run/checkpoint-500", "my-run-checkpoint-500"),
    ("模型/checkpoint-500", "checkpoint-500"),
    ("checkpoint-last", "checkpoint-last"),
    (f"{'a' * 80}/checkpoint-500", f"{'a' * 48}-checkpoint-500"),
    ("snapshots/abc", "abc"),
    ("x/../y", "y"),
    ("Größe-模型", "gr-e"),
]


@pytest.mark.parametrize(("path", "model_id"), DERIVED)
def test_an_id_is_made_of_the_folders_name(path: str, model_id: str) -> None:
    assert derive_model_id(Path("/models") / path) == model_id
    assert check_model_id(model_id) == model_id


def test_a_relative_path_has_a_name_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "Tiny").mkdir()
    monkeypatch.chdir(tmp_path / "Tiny")
    assert derive_model_id(Path()) == "tiny"


@pytest.mark.parametrize("path", ["/", "/模型", "/---", "/__"])
def test_nothing_legal_is_left(path: str) -> None:
    with pytest.raises(UsageError) as caught:
        derive_model_id(Path(path))
    assert "`model_id`" in caught.value.hint


BROKEN = [
    ("", "empty", "my-model"),
    ("My-Model", "'M'", "my-model"),
    ("a_b", "'_'", "a-b"),
    ("llama-3.1", "'.'", "llama-3p1"),
    ("7b", "starts with a digit", "model-7b"),
    ("-a", "hyphen", "a"),
    ("a-", "hyphen", "a"),
    ("a" * 64, "64 characters", "a" * 63),
    ("a\n", r"'\n'", "a"),
    ("模型", "only a-z", "my-model"),
    ("accounts/a/models/b", "'/'", "accounts-a-models-b"),
]


@pytest.mark.parametrize(("text", "rule", "suggestion"), BROKEN)
def test_an_illegal_id_names_the_rule_that_it_breaks(text: str, rule: str, suggestion: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_model_id(text)
    assert rule in caught.value.message
    assert caught.value.hint.endswith(f"`model_id` {suggestion}")
    assert caught.value.exit_code == 2


@given(st.text())
def test_every_id_is_legal_or_refused_and_every_suggestion_is_legal(text: str) -> None:
    try:
        assert MODEL_ID.fullmatch(check_model_id(text))
    except UsageError as problem:
        suggestion = problem.hint.rpartition(" ")[2]
        assert check_model_id(suggestion) == suggestion


@given(st.lists(st.text(st.characters(exclude_characters="/\0"), min_size=1), min_size=1))
def test_every_derived_id_is_legal(parts: list[str]) -> None:
    with contextlib.suppress(UsageError):
        assert MODEL_ID.fullmatch(derive_model_id(Path("/", *parts)))
