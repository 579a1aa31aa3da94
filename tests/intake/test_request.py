from __future__ import annotations

from dataclasses import fields as fields_of
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import get_type_hints

import pytest

from tests.cli.test_render import JOB
from uploader.cli.enqueue import enqueue
from uploader.cli.upload import upload
from uploader.core.errors import UsageError
from uploader.core.job import Kind
from uploader.core.seal import SealedJob
from uploader.core.whole_job import WholeJob
from uploader.intake.request import MODEL_FIELDS, EnqueueRequest, ModelFields, remote_name
from uploader.model.fields import Fields

FULL = EnqueueRequest(
    path=Path("/models/x"),
    model_id="x",
    account="acme",
    kind=Kind.LORA,
    base_model="accounts/a/models/b",
    fields=ModelFields(display_name="X", public=True, context_length=4096),
    model_json={"supportsLora": True},
    include=("a*", "b*"),
    exclude=("c*",),
    allow=("quantization",),
    no_preflight=True,
    priority=3,
)
BARE = EnqueueRequest(Path("/models/x"))


def enqueued(request: EnqueueRequest) -> EnqueueRequest:
    """``request`` as the row of its job remembers it."""
    options = request.as_options("x", Kind.LORA)
    job = replace(JOB, path="/models/x", model_id="x", kind=Kind.LORA, options=options, priority=3)
    words = {one.name: getattr(job, one.name) for one in fields_of(job)}
    return EnqueueRequest.from_options(SealedJob(WholeJob(**words, create_body={})))


def test_a_job_remembers_its_request() -> None:
    assert enqueued(FULL) == FULL


def test_what_was_derived_is_remembered_as_if_it_had_been_given() -> None:
    assert enqueued(BARE) == replace(BARE, model_id="x", kind=Kind.LORA, priority=3)


def test_the_options_of_a_bare_request_are_those_of_the_first_version() -> None:
    assert BARE.as_options("x", Kind.BASE) == {
        "model-id": "x",
        "account": None,
        "kind": "base",
        "base-model": None,
        "display-name": None,
        "description": None,
        "hugging-face-url": None,
        "include": [],
        "exclude": [],
    }


def test_the_order_of_patterns_makes_no_difference() -> None:
    turned = replace(FULL, include=("b*", "a*", "b*"))
    assert turned.as_options("x", Kind.LORA) == FULL.as_options("x", Kind.LORA)


def test_every_field_of_a_model_is_one_that_the_service_knows() -> None:
    known = get_type_hints(Fields).keys()
    assert {*MODEL_FIELDS} < known
    assert remote_name("hugging_face_url") == "huggingFaceUrl"
    assert {Fields.model_fields[name].alias for name in MODEL_FIELDS} == {
        remote_name(name) for name in MODEL_FIELDS
    }


def test_the_command_line_has_every_field_of_a_request() -> None:
    words = {one.name for one in fields_of(EnqueueRequest)} - {"fields", "path"}
    for command in (enqueue, upload):
        assert {"paths", *words, *MODEL_FIELDS} <= signature(command).parameters.keys()


def test_only_what_was_given_is_sent() -> None:
    given = ModelFields(display_name="", description="d", public=False, context_length=8)
    assert given.as_remote() == {"description": "d", "contextLength": 8}


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (replace(BARE, model_id="No_Id"), "the model id 'No_Id'"),
        (replace(BARE, account="a@b.c"), "`account` cannot be 'a@b.c'"),
        (replace(BARE, account=""), "`account` cannot be ''"),
        (replace(BARE, base_model="\udcff"), "`base_model` is not valid UTF-8"),
        (
            replace(BARE, fields=ModelFields(description="\udcff")),
            "`description` is not valid UTF-8",
        ),
        (replace(BARE, include=("*",) * 60, exclude=("*",) * 41), "may have 100 globs together"),
        (replace(BARE, exclude=("*" * 10_001,)), "of 10,000 characters in all"),
    ],
)
def test_a_text_that_no_folder_could_make_right(request_: EnqueueRequest, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        request_.check()
