"""A storage service, or a box before it, that answers one file's start with another's session.

Two files with the same bytes have the same CRC32C: the second would count as stored, and be nowhere
(docs/gcs-resumable.md §1.1).
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from tests.engine.conftest import GRANULE, Lab
from uploader.sandbox.adapter import InProcessAdapter

ELSEWHERE = "https://sessions.example/s"
JSON_API = "http://127.0.0.1:2/upload/storage/v1/b/sandbox/o"
SAME = b"s" * (2 * GRANULE)


@pytest.fixture
def box(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Between worker and storage: ``spelled`` is where it has sessions, if not at their objects.

    The start for the file ``for`` is answered, once, like the first one of all; if it is ``named``,
    with its own address before that one's id. None for the file ``cut`` is answered.
    """
    box: dict[str, Any] = dict.fromkeys(["spelled", "for", "named", "cut"])
    box["repeated"] = 0
    places: dict[str, str] = {}
    locations: list[str] = []
    send = InProcessAdapter.send

    def answer(adapter: InProcessAdapter, request: Any, *more: Any, **named: Any) -> Any:
        request.url = places.get(request.url, request.url)
        starts = request.method == "POST" and "X-Goog-Signature" in request.url
        if starts and box["cut"] and urlsplit(request.url).path.endswith(box["cut"]):
            raise requests.ConnectionError("cut", request=request)
        found = send(adapter, request, *more, **named)
        location = found.headers.get("location")
        if not starts or location is None:
            return found
        if box["spelled"]:
            spelled = f"{box['spelled']}?upload_id={location.partition('upload_id=')[2]}"
            places[spelled], location = location, spelled
        locations.append(location)
        if box["for"] and urlsplit(request.url).path.endswith(box["for"]):
            parts = location.rpartition("=")
            box["for"], location = None, locations[0]
            box["repeated"] += 1
            if box["named"]:
                location = "".join([*parts[:2], location.rpartition("=")[2]])
        found.headers["location"] = location
        return found

    monkeypatch.setattr(InProcessAdapter, "send", answer)
    return box


def twins(lab: Lab, name: str = "model", content: bytes = SAME) -> None:
    folder = lab.model(name, a_bin=1, b_bin=1)
    for path in folder.iterdir():
        path.write_bytes(content)
    lab.enqueue(folder)


def failures(lab: Lab, job_id: int = 1) -> list[str]:
    """What is told of the failures of b.bin; there are no others."""
    events = [event for event in lab.jobs.events(job_id) if event.kind == "file_failed"]
    assert {event.path for event in events} <= {"b.bin"}
    return [event.message.rpartition("names ")[2] for event in events]


@pytest.mark.parametrize(
    ("spelled", "whose"), [(None, "start"), (JSON_API, "file"), (ELSEWHERE, "file")]
)
def test_a_file_is_not_stored_by_the_session_of_another_one(
    lab: Lab, box: dict[str, Any], spelled: str | None, whose: str
) -> None:
    box.update({"spelled": spelled, "for": "b.bin"})
    twins(lab)
    lab.run()
    lab.assert_ready()
    assert box["repeated"] == 1
    assert failures(lab) == [f"the session of another {whose}"]


@pytest.mark.parametrize("content", [SAME, b""])
@pytest.mark.parametrize("spelled", [None, JSON_API, ELSEWHERE])
def test_sessions_that_name_no_object_or_another_host_are_used(
    lab: Lab, box: dict[str, Any], spelled: str | None, content: bytes
) -> None:
    box["spelled"] = spelled
    twins(lab, content=content)
    lab.run()
    lab.assert_ready()
    assert failures(lab) == []


def test_nor_by_one_with_its_own_address(lab: Lab, box: dict[str, Any]) -> None:
    """Whatever the path says, the ``upload_id`` is another file's."""
    box.update({"for": "b.bin", "named": True})
    twins(lab)
    lab.run()
    lab.assert_ready()
    assert box["repeated"] == 1
    assert failures(lab) == ["the session of another file"]


@pytest.mark.parametrize(
    ("spelled", "told"),
    [
        (None, "the session of another start"),
        (JSON_API, "a session that was used before"),
        (ELSEWHERE, "a session that was used before"),
    ],
)
def test_nor_by_that_of_another_job(
    lab: Lab, box: dict[str, Any], spelled: str | None, told: str
) -> None:
    box["spelled"] = spelled
    twins(lab, "first")
    lab.run()
    box["for"] = "b.bin"
    twins(lab, "second")
    lab.run()
    lab.assert_ready(2)
    assert box["repeated"] == 1
    assert failures(lab, 2) == [told]


@pytest.mark.parametrize("spelled", [JSON_API, ELSEWHERE])
def test_nor_by_one_that_an_earlier_worker_opened(
    lab: Lab, box: dict[str, Any], spelled: str
) -> None:
    box |= {"spelled": spelled, "cut": "b.bin"}
    twins(lab)
    lab.bytes_per_s = GRANULE / 60
    lab.run_until(lambda: lab.file("a.bin").session is not None)
    assert lab.file("b.bin").session is None
    lab.bytes_per_s = None
    box |= {"cut": None, "for": "b.bin"}
    lab.run()
    lab.assert_ready()
    assert box["repeated"] == 1
    assert failures(lab)[-1] == "a session that was used before"
