"""Which models that exist a job goes on with, and what it says of those."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from uploader.core.errors import JobRefused
from uploader.core.job import Kind, Manifest, NewJob
from uploader.core.redact import ApiKey, remember
from uploader.core.remote_model import RemoteModel, adapter_differences, refuse_different

BASE_MODEL = "accounts/fireworks/models/llama-a"
PEFT = {"baseModel": BASE_MODEL, "r": 8, "targetModules": ["q_proj", "v_proj"]}


def job(kind: Kind = Kind.EMBEDDING, **fields: Any) -> NewJob:
    body = {"modelId": "m", "model": {"kind": kind.remote, **fields}}
    return NewJob("https://h", "a", "m", kind, Manifest("/m", ()), body)


def stands(**fields: Any) -> RemoteModel:
    return RemoteModel("UPLOADING", "", "", "", None, "", shown=fields)


def adapter(**changes: Any) -> dict[str, Any]:
    return {"peftDetails": {**PEFT, **changes}}


def refusal(ours: NewJob, model: RemoteModel) -> JobRefused:
    with pytest.raises(JobRefused) as caught:
        refuse_different(ours, model)
    assert caught.value.code == "exists_differently"
    return caught.value


# -- what is never adopted ---------------------------------------------------------------------


@pytest.mark.parametrize("public", [True, "true", "false", 1, ["x"], {}])
def test_a_model_that_may_be_public_is_never_taken_for_a_private_one(public: object) -> None:
    for ours in (job(), job(public=False)):
        error = refusal(ours, stands(public=public))
        assert "everybody may read it" in error.message
        assert error.hint == (
            "`uploader model delete accounts/a/models/m`, then enqueue the folder; "
            "or choose another `model_id`"
        )


@pytest.mark.parametrize("shown", [{}, {"public": None}, {"public": False}])
def test_a_model_that_is_not_shown_to_be_public_is_private(shown: dict[str, Any]) -> None:
    assert refuse_different(job(), stands(**shown)) == ""
    assert refuse_different(job(public=True), stands(**shown)) == "it is private, ours is public"


@pytest.mark.parametrize(
    ("theirs", "words"),
    [
        ({"baseModel": "accounts/fireworks/models/b"}, "its base model is accounts/fireworks/mod"),
        ({"r": 16}, "its rank is 16, ours is 8"),
        ({"targetModules": ["q_proj"]}, "its target modules are q_proj, ours are q_proj, v_proj"),
    ],
)
def test_another_adapter_is_not_adopted(theirs: dict[str, Any], words: str) -> None:
    assert words in refusal(job(Kind.LORA, **adapter()), stands(**adapter(**theirs))).message


@pytest.mark.parametrize("state", ["FAILED", "PREPARING", "DELETING", "VALIDATING"])
def test_a_model_that_takes_no_files_is_not_adopted(state: str) -> None:
    model = replace(stands(), state=state, status_message="out of luck")
    assert f"its state is {state} (out of luck)" in refusal(job(), model).message


@pytest.mark.parametrize("state", ["UPLOADING", "STATE_UNSPECIFIED", ""])
def test_a_model_that_may_take_files_is_adopted(state: str) -> None:
    assert refuse_different(job(), replace(stands(), state=state)) == ""


def test_an_adapter_is_not_adopted_as_something_else() -> None:
    assert "its rank is 8, ours is not set" in refusal(job(), stands(**adapter())).message


# -- the own model, as a service may write it --------------------------------------------------

ECHOES = [
    {},
    {"peftDetails": None},
    {"peftDetails": {"baseModel": "", "r": 0, "targetModules": []}},
    {"peftDetails": {"baseModel": None, "r": None, "targetModules": None}},
    {"peftDetails": {"baseModel": [3], "r": [], "targetModules": "q_proj"}},
    {"peftDetails": [PEFT]},
    adapter(r="8"),
    adapter(targetModules=["v_proj", "q_proj", "q_proj"], baseModelType="llama"),
    {**adapter(), "public": False, "contextLength": 0, "description": "", "supportsTools": False},
    {**adapter(), "snapshotType": "SNAPSHOT_TYPE_UNSPECIFIED", "conversationConfig": None},
    {**adapter(), "conversationConfig": {"style": "", "system": "", "template": ""}},
    {**adapter(), "supportsLora": True, "name": "accounts/a/models/m", "createTime": "2026"},
]


@pytest.mark.parametrize("shown", ECHOES)
def test_an_adapter_as_a_service_may_write_it_down_is_ours(shown: dict[str, Any]) -> None:
    assert refuse_different(job(Kind.LORA, **adapter()), stands(**shown)) == ""


def test_two_names_of_a_module_are_one() -> None:
    ours, theirs = (
        adapter(targetModules=names) for names in (["w1", "w2"], ["down_proj", "up_proj"])
    )
    assert [*adapter_differences(ours, theirs)] == []


ASKED: dict[str, Any] = {
    "displayName": "Mine",
    "description": "two  words",
    "contextLength": 4096,
    "supportsTools": True,
    "supportsLora": False,
    "conversationConfig": {"style": "jinja"},
    "baseModelDetails": {"worldSize": 1, "parameterCount": "8", "moe": False},
}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        dict.fromkeys(ASKED),
        {"description": " two words\n", "contextLength": "4096"},
        {"baseModelDetails": {"worldSize": "1", "parameterCount": 8, "huggingfaceFiles": ["f"]}},
        {"conversationConfig": {"style": "jinja", "system": "", "template": None}},
    ],
)
def test_nothing_is_said_of_options_that_are_the_same(changes: dict[str, Any]) -> None:
    assert refuse_different(job(**ASKED), stands(**{**ASKED, **changes})) == ""


# -- what is adopted, and said -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"contextLength": 32768}, "its contextLength is 32768, ours is 4096"),
        ({"supportsTools": False}, "its supportsTools is not set, ours is true"),
        ({"supportsImageInput": True}, "its supportsImageInput is true, ours is not set"),
        ({"displayName": "Theirs"}, "its displayName is Theirs, ours is Mine"),
        (
            {"conversationConfig": {"style": "x"}},
            "its conversationConfig.style is x, ours is jinja",
        ),
        ({"baseModelDetails": {"worldSize": 8}}, "its baseModelDetails.worldSize is 8, ours is 1"),
        ({"deprecationDate": {"year": 2027}}, "its deprecationDate.year is 2027, ours is not set"),
    ],
)
def test_other_options_are_said_and_do_not_refuse(changes: dict[str, Any], words: str) -> None:
    assert refuse_different(job(**ASKED), stands(**{**ASKED, **changes})) == words


def test_what_is_said_is_short_and_holds_no_key_and_no_control_character() -> None:
    key = "fw_a_key_that_is_echoed"
    remember(ApiKey(key))
    shown = {"displayName": f"\x1b[2J{key}", "description": "x" * 100_000, "public": False}
    words = refuse_different(job(**ASKED, public=True), stands(**{**ASKED, **shown}))
    assert words.startswith("it is private, ours is public; its displayName is")
    assert (key in words, "\x1b" in words, len(words) < 400) == (False, False, True)


def test_of_many_differences_some_are_said_and_all_are_counted() -> None:
    asked: dict[str, Any] = {f"field{number}": number + 1 for number in range(9)}
    words = refuse_different(job(**asked), stands(**dict.fromkeys(asked, 77)))
    assert words.endswith("its field4 is 77, ours is 5; and 4 more")


def test_a_model_of_nonsense_is_compared_all_the_same() -> None:
    nonsense = {name: [{"a": [None]}] for name in (*ASKED, "peftDetails", "deprecationDate")}
    assert "its contextLength is not set, ours is 4096" in refuse_different(
        job(**ASKED), stands(**nonsense)
    )


def test_countless_modules_are_told_in_a_few_words() -> None:
    theirs = adapter(targetModules=[f"module{number}" * 20 for number in range(50_000)])
    assert len(refusal(job(Kind.LORA, **adapter()), stands(**theirs)).message) < 300


def test_files_are_compared_as_before_and_all_differences_are_listed() -> None:
    details = {"checkpointFormat": "HUGGINGFACE", "worldSize": 1, "huggingfaceFiles": ["a", "b"]}
    model = replace(stands(public=True), huggingface_files=("a", "c"), state="FAILED")
    message = refusal(job(Kind.BASE, baseModelDetails=details), model).message
    for words in ("state is FAILED", "it lacks b", "it also expects c", "everybody may read it"):
        assert words in message
