"""The JSON of the limits in force (docs/json.md is generated from the types here, too)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal

from typing_extensions import TypedDict

from uploader.core.documents import JobsDocument, Time, time_json
from uploader.core.limits import InForce
from uploader.core.timetable import local_time


class LimitJson(TypedDict):
    """A limit in force."""

    value: Annotated[str, "As it is written in a configuration."]
    origin: Annotated[
        str, "`limit` if a user chose it by `uploader limit`; else a file, a variable or `default`."
    ]


class BandwidthJson(LimitJson):
    """The bandwidth limit in force."""

    rate_bps: Annotated[int | None, "Bytes per second now; null if there is no limit now."]
    until: Annotated[Time | None, "When a timetable changes that rate next; null if none does."]


class LimitsJson(TypedDict):
    """The limits in force: what users chose, else what the configuration of this command says."""

    bandwidth: Annotated[BandwidthJson, "Bytes per second over all files of a worker."]
    files: Annotated[LimitJson, "Files in flight over all jobs of a worker: a number, or `auto`."]
    jobs: Annotated[LimitJson, "Jobs at once per worker."]


class LimitsDocument(LimitsJson):
    """`uploader limit --json`: the limits in force."""

    schema: Annotated[Literal["uploader.limits/1"], "The name and version of this document."]


class StatusDocument(JobsDocument):
    """`uploader status --json`: the fields of `uploader.jobs/1`, and the limits in force."""

    limits: Annotated[LimitsJson, "The limits in force."]


def status_document(jobs: JobsDocument, limits: LimitsJson) -> StatusDocument:
    """``jobs`` with the limits in force."""
    return {**jobs, "limits": limits}


def limits_document(limits: LimitsJson) -> LimitsDocument:
    """The limits in force."""
    return {"schema": "uploader.limits/1", **limits}


def limits_json(force: InForce, origins: Mapping[str, str], now: datetime) -> LimitsJson:
    """The limits in force as of ``now``, by the local clock; ``origins`` by name."""
    local = local_time(now)
    change = force.bandwidth.next_change(local)
    return {
        "bandwidth": {
            "value": str(force.bandwidth),
            "origin": origins["bandwidth"],
            "rate_bps": force.bandwidth.at(local),
            "until": time_json(change) if change else None,
        },
        "files": {"value": str(force.files), "origin": origins["files"]},
        "jobs": {"value": str(force.jobs), "origin": origins["jobs"]},
    }
