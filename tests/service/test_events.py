"""The history by HTTP: in order, without a gap, over restarts."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import closing

from tests.service.conftest import Site
from uploader.core.lifecycle import Verb

DEADLINE_S = 120.0


def stream(
    site: Site, since: int, most: int, **headers: str
) -> Iterator[tuple[int, dict[str, object]]]:
    """At most ``most`` (id, event) of a stream of events."""
    sent = {"Authorization": f"Bearer {site.token}", "Accept": "text/event-stream"}
    with closing(site.connect()) as connection:
        connection.request("GET", f"/api/events?since={since}", headers=sent | headers)
        with connection.getresponse() as answer:
            assert (answer.getheader("content-type") or "").startswith("text/event-stream")
            seq = 0
            while most:
                line = answer.readline().decode().strip()
                if line.startswith("id: "):
                    seq = int(line[4:])
                if line.startswith("data: "):
                    most -= 1
                    yield seq, json.loads(line[6:])


def test_events_are_read_after_a_number(site: Site) -> None:
    site.ask("/api/jobs", {"path": str(site.folder())})
    site.ask("/api/jobs/1/pause", {})
    every = site.ask("/api/events").json
    assert [event["kind"] for event in every][-1] == "paused"
    assert site.ask(f"/api/events?since={every[-2]['seq']}").json == every[-1:]
    assert site.ask(f"/api/events?since={every[-1]['seq']}&wait=0").json == []
    assert site.ask("/api/events?since=-1").status == 422


def test_a_long_poll_is_answered_by_the_next_event(site: Site) -> None:
    site.ask("/api/jobs", {"path": str(site.folder())})
    last = site.ask("/api/events").json[-1]["seq"]
    found: list[dict[str, object]] = []
    thread = threading.Thread(
        target=lambda: found.extend(site.ask(f"/api/events?since={last}").json)
    )
    thread.start()
    site.ask("/api/jobs/1/pause", {})
    thread.join(DEADLINE_S)
    assert [event["kind"] for event in found] == ["paused"]


def test_a_stream_goes_on_after_the_last_id_over_a_restart(site: Site) -> None:
    site.ask("/api/jobs", {"path": str(site.folder())})
    for verb in ("pause", "resume", "pause"):
        site.ask(f"/api/jobs/1/{verb}", {})
    every = [event["seq"] for event in site.ask("/api/events").json]
    first = [seq for seq, _ in stream(site, 0, 2)]
    site.stop()
    site.jobs.apply(1, Verb.RESUME, site.jobs.job(1).created_at)
    site.start()
    rest = [seq for seq, _ in stream(site, 0, len(every) - 1, **{"Last-Event-ID": str(first[-1])})]
    assert [*first, *rest] == [*every, every[-1] + 1]


def test_a_stream_ends_when_the_server_does(site: Site) -> None:
    headers = {"Authorization": f"Bearer {site.token}", "Accept": "text/event-stream"}
    with closing(site.connect()) as connection:
        connection.request("GET", "/api/events", headers=headers)
        with connection.getresponse() as answer:
            assert answer.readline().startswith(b"retry:")
            site.stop()
            answer.read()  # ends, or the test's own deadline does
    site.start()
