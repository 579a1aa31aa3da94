"""The JSON documents about why a job is where it is; see documents.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from typing_extensions import TypedDict

from uploader.core.documents import EventJson, event_json
from uploader.core.job import Event, Job

#: How many of the last events an explanation lists.
LAST_EVENTS = 5


class ExplanationDocument(TypedDict):
    """`uploader explain --json`: what there is to say about a job."""

    schema: Annotated[Literal["uploader.explanation/1"], "The name and version of this document."]
    job: Annotated[int, "The job's id."]
    model: Annotated[str, "The resource name: `accounts/ACCOUNT/models/MODEL`."]
    stage: Annotated[str, "The stage that it is in."]
    status: Annotated[str, "Whether it may run."]
    sentences: Annotated[
        list[str], "Where it stands, what it waits for and, last, what to do: for people."
    ]
    to_do: Annotated[str, "The one thing to do; empty if there is none."]
    events: Annotated[list[EventJson], "What happened last, oldest first."]


class ExplanationsDocument(TypedDict):
    """`uploader explain --json` with several jobs."""

    schema: Annotated[Literal["uploader.explanations/1"], "The name and version of this document."]
    explanations: Annotated[list[ExplanationDocument], "One for each job, in their order."]


def explanation_document(
    job: Job, sentences: Sequence[str], to_do: str, events: Sequence[Event]
) -> ExplanationDocument:
    """What there is to say about a job (core/why.py)."""
    return {
        "schema": "uploader.explanation/1",
        "job": job.id,
        "model": job.model,
        "stage": job.stage.value,
        "status": job.status.value,
        "sentences": list(sentences),
        "to_do": to_do,
        "events": [event_json(event) for event in events],
    }


def explanations_document(found: Sequence[ExplanationDocument]) -> ExplanationsDocument:
    """What there is to say about several jobs."""
    return {"schema": "uploader.explanations/1", "explanations": list(found)}
