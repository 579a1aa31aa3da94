"""Sessions are opened ahead of sending, and what is stored costs the same however much there is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event, text

from tests.engine.conftest import GRANULE, Lab
from uploader.core.job import Mode, Status
from uploader.core.lifecycle import Verb
from uploader.core.upload import EXCHANGE_EVERY_S
from uploader.engine.berths import MOST_IN_A_ROW, OPENED_IN_A_ROW, OPENERS
from uploader.engine.urls import MAX_RECREATIONS

FILES: Any = {f"f{number:02}_bin": GRANULE for number in range(40)}


def seen(lab: Lab, *names: str) -> list[str]:
    """The boundaries of these names, in the order in which they were crossed."""
    crossed: list[str] = []
    lab.boundary = lambda name: crossed.append(name) if name in names else None
    return crossed


def openings(lab: Lab) -> list[str]:
    """The names of the threads that open sessions from now on."""
    names: list[str] = []
    spawn = lab.spawn

    def noted(name: str, run: Callable[[], None]) -> None:
        if name.endswith(" sessions"):
            names.append(name)
        spawn(name, run)

    lab.spawn = noted
    return names


# -- ahead of sending ----------------------------------------------------------------------


@pytest.mark.long
def test_a_job_asks_for_urls_once_however_long_it_takes(lab: Lab) -> None:
    lab.world.config.url_life_s = 60
    lab.bytes_per_s = GRANULE / 30
    lab.enqueue(lab.model(**FILES))
    lab.run()
    lab.assert_ready()
    assert lab.clock.boot_s() > 15 * 60
    assert lab.world.report()["urls_calls"] == 1
    assert lab.world.report()["refused"] == []


def test_once_its_sessions_are_open_a_job_goes_on_without_the_key(lab: Lab) -> None:
    lab.bytes_per_s = 2.0 * GRANULE
    lab.enqueue(lab.model(**FILES))

    def all_open() -> bool:
        files = lab.jobs.files(1)
        return all(file.session is not None or file.stored for file in files)

    lab.run_until(all_open)
    assert not all(file.stored for file in lab.jobs.files(1))
    lab.world.config.key_valid = False
    lab.run()
    assert all(file.stored for file in lab.jobs.files(1))
    assert lab.job().status is Status.BLOCKED
    lab.world.config.key_valid = True
    lab.run()
    lab.assert_ready()


def test_a_key_that_dies_lets_every_session_that_is_open_be_sent(lab: Lab) -> None:
    lab.world.config.url_life_s = 8
    lab.bytes_per_s = 4.0 * GRANULE
    lab.world.script.add(
        [{"on": "start", "match": "f39", "do": "status", "status": 503, "retry_after": 20}]
    )
    lab.enqueue(lab.model(**FILES))

    def die(name: str) -> None:
        if name == "put block":
            lab.world.config.key_valid = False

    lab.boundary = die
    lab.run()
    assert lab.job().status is Status.BLOCKED
    assert [file.path for file in lab.jobs.files(1) if not file.stored] == ["f39.bin"]


def test_the_first_byte_leaves_as_soon_as_one_session_is_open(lab: Lab) -> None:
    crossed = seen(lab, "start after", "put before")
    lab.enqueue(lab.model(**FILES))
    lab.run()
    lab.assert_ready()
    assert crossed.index("put before") <= OPENERS + 1


@pytest.mark.long
def test_sessions_are_opened_ahead_and_only_a_few_at_a_time(lab: Lab) -> None:
    lab.bytes_per_s = GRANULE / 10
    crossed = seen(lab, "start before", "start after", "put after")
    lab.enqueue(lab.model(**FILES))
    lab.run()
    lab.assert_ready()
    under_way = most = 0
    for name in crossed:
        under_way += {"start before": 1, "start after": -1}.get(name, 0)
        most = max(most, under_way)
    assert most == OPENERS
    third = [at for at, name in enumerate(crossed) if name == "put after"][2]
    assert crossed[:third].count("start after") == len(FILES)


def test_a_service_that_refuses_resumable_starts_is_asked_once(lab: Lab) -> None:
    lab.world.config.url_kind = "refused"
    crossed = seen(lab, "start before")
    lab.enqueue(lab.model(**FILES))
    lab.run()
    lab.assert_ready()
    assert len(crossed) == 1
    assert {file.mode for file in lab.jobs.files(1)} == {Mode.PUT}


def test_a_lost_session_is_opened_again_by_the_url_in_hand(lab: Lab) -> None:
    lab.world.script.add([{"on": "put", "match": "f07", "do": "dead-session"}])
    lab.enqueue(lab.model(**FILES))
    lab.run()
    lab.assert_ready()
    assert lab.world.report()["urls_calls"] == 1


# -- URLs in the rows ----------------------------------------------------------------------


def urls_in_rows(lab: Lab) -> int:
    with lab.engine.connect() as connection:
        query = text("SELECT count(*) FROM files WHERE upload_url IS NOT NULL")
        found: int = connection.execute(query).scalar_one()
        return found


@pytest.mark.parametrize("url_kind", ["resumable", "session", "put"])
def test_urls_outlive_the_worker_and_are_erased_when_they_have_served(
    lab: Lab, url_kind: str
) -> None:
    lab.world.config.url_kind = url_kind
    lab.enqueue(lab.model(**FILES))
    lab.bytes_per_s = GRANULE / 10
    lab.run_until(lambda: lab.job().urls_until is not None)
    lab.bytes_per_s = None
    lab.world.script.add([{"on": "urls", "do": "status", "status": 409, "times": 0}])
    lab.run()
    lab.assert_ready()
    assert lab.world.report()["urls_calls"] == 1
    assert urls_in_rows(lab) == 0


def test_a_cancelled_job_keeps_no_url(lab: Lab) -> None:
    lab.enqueue(lab.model(**FILES))
    lab.bytes_per_s = GRANULE / 10
    lab.run_until(lambda: lab.job().urls_until is not None)
    lab.jobs.apply(1, Verb.CANCEL, lab.clock.now())
    assert urls_in_rows(lab) == 0
    lab.run()


# -- a model whose URLs are used up --------------------------------------------------------


def used_up(lab: Lab, status: int = 409, **limits: Any) -> None:
    """The map was received and forgotten again; the service gives no other one."""
    lab.enqueue(lab.model(a_bin=2 * GRANULE, b_bin=GRANULE))
    lab.world.script.add([{"on": "urls", "do": "lost-answer"}])
    lab.world.script.add([{"on": "urls", "do": "status", "status": status, "nth": 2}])
    lab.run(**limits)


@pytest.mark.parametrize("status", [405, 409])
def test_a_model_that_gives_no_urls_and_holds_nothing_is_created_again(
    lab: Lab, status: int
) -> None:
    used_up(lab, status)
    lab.assert_ready()
    assert lab.kinds().count("recreated") == 1
    assert lab.kinds().count("created") == 2
    assert lab.object("a.bin")["body_bytes_read"] == 2 * GRANULE
    assert lab.job().recreations == 1


def test_a_setting_forbids_to_create_a_model_again(lab: Lab) -> None:
    used_up(lab, recreate=False)
    job = lab.job()
    assert (job.status, job.reason and job.reason.code) == (Status.FAILED, "urls_refused")
    assert job.reason
    assert "--replace" in job.reason.hint
    assert "recreated" not in lab.kinds()
    assert job.model in lab.world.report()["models"]


def test_a_model_that_is_not_this_jobs_own_is_never_deleted(lab: Lab) -> None:
    lab.world.script.add([{"on": "create", "do": "lost-answer"}])
    used_up(lab)
    job = lab.job()
    assert (job.status, job.reason and job.reason.code) == (Status.FAILED, "urls_refused")
    assert job.model in lab.world.report()["models"]


def test_a_model_that_holds_a_finished_file_is_never_deleted(lab: Lab) -> None:
    lab.world.config.url_life_s = 8
    late = {"on": "start", "match": "b.bin", "do": "status", "status": 503, "retry_after": 20}
    lab.world.script.add([late, {"on": "urls", "do": "status", "status": 409, "nth": 2}])
    lab.enqueue(lab.model(a_bin=2 * GRANULE, b_bin=GRANULE))
    lab.run()
    job = lab.job()
    assert (job.status, job.reason and job.reason.code) == (Status.FAILED, "urls_refused")
    assert [file.path for file in lab.jobs.files(1) if file.stored] == ["a.bin"]


def test_a_service_that_never_gives_urls_is_not_asked_for_new_models_for_ever(lab: Lab) -> None:
    lab.world.script.add([{"on": "urls", "do": "status", "status": 409, "times": 0}])
    lab.enqueue(lab.model())
    lab.run()
    job = lab.job()
    assert (job.status, job.reason and job.reason.code) == (Status.FAILED, "urls_refused")
    assert lab.world.report()["creates"] == MAX_RECREATIONS + 1


# -- what it costs -------------------------------------------------------------------------


@contextmanager
def statements(lab: Lab) -> Iterator[list[str]]:
    ran: list[str] = []

    def count(*of: Any) -> None:
        ran.extend([of[2]] * (len(of[3]) if of[5] else 1))

    event.listen(lab.engine, "before_cursor_execute", count)
    yield ran
    event.remove(lab.engine, "before_cursor_execute", count)


@pytest.mark.parametrize(
    ("url_kind", "many"),
    [pytest.param("resumable", 2000, marks=pytest.mark.long), ("resumable", 60), ("put", 60)],
)
def test_a_stored_file_costs_the_same_statements_however_many_there_are(
    lab: Lab, url_kind: str, many: int
) -> None:
    lab.world.config.url_kind = url_kind

    def per_file(count: int) -> float:
        name = f"model-{count}"
        job_id = lab.enqueue(lab.model(name, **{f"f{number}_bin": 9 for number in range(count)}))
        with statements(lab) as ran:
            lab.run()
        lab.assert_ready(job_id)
        return len(ran) / count

    assert per_file(many) <= per_file(20)


@pytest.mark.parametrize(
    ("latency_s", "in_a_row"),
    [(EXCHANGE_EVERY_S / 3, MOST_IN_A_ROW), (10 * EXCHANGE_EVERY_S, OPENED_IN_A_ROW)],
)
def test_sessions_that_take_no_time_are_opened_by_few_threads(
    lab: Lab, latency_s: float, in_a_row: int
) -> None:
    lab.max_files = "auto"
    lab.world.script.add([{"on": "start", "do": "latency", "seconds": latency_s, "times": 0}])
    files: Any = {f"f{number:03}_bin": 9 for number in range(160)}
    names = openings(lab)
    lab.enqueue(lab.model(**files))
    lab.run()
    lab.assert_ready()
    assert 160 / in_a_row <= len(names) <= 160 / in_a_row + 2 * OPENERS
