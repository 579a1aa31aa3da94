"""The JSON documents about what stands on an account; see documents.py."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal

from typing_extensions import TypedDict

from uploader.core.job import Job
from uploader.core.remote_model import ListedModel, RemoteModel


class ListedModelJson(TypedDict):
    """A model of an account."""

    model: Annotated[str, "Its resource name."]
    model_id: Annotated[str, "Its id."]
    state: Annotated[str, "Its state, in the service's word: `UPLOADING`, `READY`, …"]
    kind: Annotated[str, "Its kind, in the service's word."]
    created_at: Annotated[str, "When it was created, in the service's words; may be empty."]
    age_s: Annotated[float | None, "For how long it has been there; null if that is not known."]
    jobs: Annotated[
        list[int], "The jobs of this store that are for it; none for one made elsewhere."
    ]


class ModelsDocument(TypedDict):
    """`uploader model list --json`: what stands on the account."""

    schema: Annotated[Literal["uploader.models/1"], "The name and version of this document."]
    account: Annotated[str, "The account."]
    models: Annotated[list[ListedModelJson], "In the service's order."]
    complete: Annotated[bool, "Whether these are all; false if the service's list has no end."]


class ModelDocument(TypedDict):
    """`uploader model show --json`: one model as it is now."""

    schema: Annotated[Literal["uploader.model/1"], "The name and version of this document."]
    model: Annotated[str, "Its resource name."]
    model_id: Annotated[str, "Its id."]
    state: Annotated[str, "Its state, in the service's word."]
    kind: Annotated[str, "Its kind, in the service's word."]
    message: Annotated[str, "What the service says about its last operation; may be empty."]
    files: Annotated[list[str] | None, "Its files; null if the service does not show them."]
    jobs: Annotated[list[int], "The jobs of this store that are for it, by id."]
    next: Annotated[list[str], "Command lines for what may be done now. None of them was run."]


class ModelDeletedDocument(TypedDict):
    """`uploader model delete --json`: a model that was deleted, or not."""

    schema: Annotated[Literal["uploader.model_deleted/1"], "The name and version of this document."]
    model: Annotated[str, "Its resource name."]
    deleted: Annotated[bool, "Whether it is gone; false if that was not confirmed."]


def listed_json(
    account: str, one: ListedModel, jobs: Sequence[Job], now: datetime
) -> ListedModelJson:
    """One model of a list."""
    return {
        "model": f"accounts/{account}/models/{one.model_id}",
        "model_id": one.model_id,
        "state": one.state,
        "kind": one.kind,
        "created_at": one.created_at,
        "age_s": _age_s(one.created_at, now),
        "jobs": [job.id for job in jobs],
    }


def _age_s(created_at: str, now: datetime) -> float | None:
    try:
        at = datetime.fromisoformat(created_at)
    except ValueError:
        return None
    return max(0.0, (now - at).total_seconds()) if at.tzinfo else None


def model_document(
    name: str, model: RemoteModel, jobs: Sequence[Job], what_next: Sequence[str]
) -> ModelDocument:
    """The model with this resource name, and what may be done with it next."""
    files = model.huggingface_files
    return {
        "schema": "uploader.model/1",
        "model": name,
        "model_id": name.rpartition("/")[2],
        "state": model.state,
        "kind": model.kind,
        "message": model.status_message,
        "files": None if files is None else [*files],
        "jobs": [job.id for job in jobs],
        "next": [*what_next],
    }
