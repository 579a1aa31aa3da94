"""No session is forgotten that may be open: whoever takes the name of its model is told of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, event, select, text, update

from tests.store.conftest import BASE_URL, NOW, Hands, open_session
from uploader.core.job import NewJob, Reason, Stage, Status
from uploader.core.lifecycle import Verb
from uploader.core.redact import SessionUri
from uploader.core.resumable import SESSION_LIFE_S
from uploader.core.seal import Seal
from uploader.store.claims import Claims
from uploader.store.held import Held
from uploader.store.history import History
from uploader.store.jobs import Jobs
from uploader.store.leftovers import Leftover
from uploader.store.tables import jobs as jobs_table
from uploader.store.tables import leftovers

PATH, OTHER = "a.safetensors", "config.json"
URI = "https://storage.example/o?upload_id=1"
LIFE = timedelta(seconds=SESSION_LIFE_S)
LATER = NOW + timedelta(minutes=5)

Open = Callable[..., int]


@pytest.fixture
def opened(claimed: Callable[..., Held]) -> Open:
    """The id of a failed job that has a session and no worker."""

    def make(*args: Any, **fields: Any) -> int:
        held = claimed(*args, **fields)
        held.enter_upload(created=True)
        open_session(held, PATH, SessionUri(URI), None)
        held.fail(Reason("net", "reset"))
        held.release()
        return held.job.id

    return make


@pytest.fixture
def holder(claims: Claims, clock: Hands) -> Callable[[], Held]:
    """The next job that is claimed, so late that no cancelled one is about to be cleaned up."""

    def hold() -> Held:
        held = claims.claim("worker", BASE_URL, tuple(Stage), 60)
        assert held
        clock.at = max(clock.at, LATER)
        return held

    return hold


@pytest.fixture
def another(enqueue: Callable[..., int], holder: Callable[[], Held]) -> Callable[..., Held]:
    """Another job for the model, in the hands of a worker."""

    def hold(**fields: Any) -> Held:
        enqueue(**fields)
        return holder()

    return hold


def uris(found: list[Leftover] | None) -> list[tuple[str, str]]:
    assert found is not None
    return [(one.path, one.session.reveal()) for one in found]


def left(engine: Engine) -> int:
    with engine.connect() as connection:
        return len(connection.execute(select(leftovers.c.id)).all())


@pytest.mark.parametrize("replace", [False, True])
def test_a_new_run_is_told_of_the_sessions_of_the_earlier_one(
    jobs: Jobs,
    opened: Open,
    new: Callable[..., NewJob],
    holder: Callable[[], Held],
    *,
    replace: bool,
) -> None:
    job = jobs.sealed(jobs.job(opened()))
    jobs.restart(job, new(), NOW, replace=replace)
    assert all(file.session is None for file in jobs.files(job.id))
    assert uris(holder().take_name("acme")) == [(PATH, URI)]


@pytest.mark.parametrize("status", [Status.FAILED, Status.CANCELLED, "nonsense"])
def test_another_job_is_told_of_those_of_a_removed_one(
    engine: Engine,
    jobs: Jobs,
    opened: Open,
    put: Callable[..., None],
    another: Callable[..., Held],
    status: str,
) -> None:
    """Whether that one could be read or not."""
    job_id = opened()
    if status == "nonsense":
        put(job_id, attempts=-1)
    else:
        put(job_id, status=status)
    jobs.remove(job_id, NOW)
    assert uris(another().take_name("acme")) == [(PATH, URI)]
    assert left(engine) == 1, "until it is ended"


def test_whoever_takes_the_name_of_a_cancelled_job_takes_its_sessions(
    jobs: Jobs,
    claims: Claims,
    opened: Open,
    another: Callable[..., Held],
) -> None:
    cancelled = opened()
    jobs.apply(cancelled, Verb.CANCEL, NOW)
    assert uris(another().take_name("acme")) == [(PATH, URI)]
    assert all(file.session is None for file in jobs.files(cancelled))
    assert claims.any_open(BASE_URL)
    assert "closed" not in [event.kind for event in jobs.events(cancelled)]


def test_what_is_ended_by_another_job_ends_the_cleaning_up_of_a_cancelled_one(
    engine: Engine,
    jobs: Jobs,
    claims: Claims,
    opened: Open,
    another: Callable[..., Held],
) -> None:
    cancelled = opened()
    jobs.apply(cancelled, Verb.CANCEL, NOW)
    at_first = claims.claim_cancelled("worker", BASE_URL, 60)
    assert at_first
    at_first.clean_up_after(NOW + timedelta(days=1), Reason("cleaning_up", "503"))
    at_first.release()
    held = another()
    found = held.take_name("acme")
    assert found
    held.end_leftovers([], [(found[0], "405")])
    assert held.take_name("acme") == []
    assert left(engine) == 0
    assert jobs.job(cancelled).reason is None
    assert claims.claim_cancelled("worker", BASE_URL, 60) is None
    assert [event.kind for event in jobs.events(cancelled)][-1] == "closed"
    told = jobs.events(held.job.id)[-1]
    assert (told.kind, told.path, told.message) == ("left_open", PATH, "405")


def test_a_cancelled_job_cleans_up_after_its_earlier_run_too(
    engine: Engine,
    jobs: Jobs,
    claims: Claims,
    opened: Open,
    new: Callable[..., NewJob],
) -> None:
    job_id = opened()
    jobs.restart(jobs.sealed(jobs.job(job_id)), new(), NOW)
    jobs.apply(job_id, Verb.CANCEL, NOW)
    assert claims.any_open(BASE_URL)
    held = claims.claim_cancelled("worker", BASE_URL, 60)
    assert held
    assert uris(held.leave_sessions()) == [(PATH, URI)]
    held.close()
    held.release()
    assert claims.claim_cancelled("worker", BASE_URL, 60) is None
    assert left(engine) == 0


def test_no_cancelled_job_is_forgotten_that_has_something_to_end(
    engine: Engine, jobs: Jobs, opened: Open, new: Callable[..., NewJob]
) -> None:
    job_id = opened()
    jobs.restart(jobs.sealed(jobs.job(job_id)), new(), NOW)
    jobs.apply(job_id, Verb.CANCEL, NOW)
    assert History(engine).count(LATER).jobs == 0


@pytest.mark.parametrize(
    "other", [{"account": "other"}, {"base_url": "https://elsewhere.example"}, {"model_id": "n"}]
)
def test_a_job_is_told_of_none_of_another_model(
    engine: Engine,
    jobs: Jobs,
    opened: Open,
    another: Callable[..., Held],
    other: dict[str, str],
) -> None:
    jobs.remove(opened(), NOW)
    with engine.begin() as connection:
        connection.execute(update(leftovers).values(**other))
    assert another().take_name("acme") == []


@pytest.mark.parametrize(
    ("age", "is_over"), [(LIFE, True), (LIFE - timedelta(hours=1), False), (100 * LIFE, True)]
)
def test_of_one_that_is_older_than_any_lives_that_is_told(
    jobs: Jobs,
    clock: Hands,
    opened: Open,
    another: Callable[..., Held],
    age: timedelta,
    *,
    is_over: bool,
) -> None:
    job_id = opened()
    clock.at = NOW + age
    jobs.remove(job_id, clock.at)
    assert [one.is_over for one in another().take_name("acme") or ()] == [is_over]


def test_so_many_that_are_over_are_kept_and_no_more(
    engine: Engine, jobs: Jobs, clock: Hands, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uploader.store.leftovers._MOST_OLD", 2)
    for number in range(4):
        job_id = opened(f"m-{number}")
        clock.at += LIFE
        jobs.remove(job_id, clock.at)
    assert left(engine) == 2


def test_they_are_told_in_portions_and_a_session_is_secret(
    jobs: Jobs,
    claimed: Callable[..., Held],
    another: Callable[..., Held],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("uploader.store.leftovers._PORTION", 1)
    first = claimed()
    for path in (PATH, OTHER):
        open_session(first, path, SessionUri(f"{URI}{path}"), None)
    first.fail(Reason("net", "reset"))
    first.release()
    jobs.remove(first.job.id, NOW)
    held, seen = another(), list[tuple[str, str]]()
    while found := held.take_name("acme"):
        seen += uris(found)
        assert URI not in repr(found)
        held.end_leftovers(found)
    assert seen == [(PATH, URI + PATH), (OTHER, URI + OTHER)]


@pytest.mark.parametrize("files", [2, 400])
def test_however_many_there_are_they_are_moved_and_forgotten_by_as_many_statements(
    engine: Engine,
    jobs: Jobs,
    claimed: Callable[..., Held],
    another: Callable[..., Held],
    files: int,
) -> None:
    sizes = {f"{number:03}.bin": 1 for number in range(files)}
    first = claimed(sizes=sizes)
    for path in sizes:
        open_session(first, path, SessionUri(URI), None)
    first.release()
    jobs.apply(first.job.id, Verb.CANCEL, NOW)
    held = another(sizes=sizes)
    ran: list[str] = []

    def note(*of: Any) -> None:
        ran.append(of[2])

    event.listen(engine, "before_cursor_execute", note)
    found = held.take_name("acme")
    assert found
    held.end_leftovers(found)
    event.remove(engine, "before_cursor_execute", note)
    assert len(found) == files
    assert len(ran) < 20


def test_a_job_for_whose_model_nobody_left_anything_pays_one_question(
    engine: Engine, claimed: Callable[..., Held]
) -> None:
    held = claimed()
    ran: list[str] = []

    def note(*of: Any) -> None:
        ran.append(of[2])

    event.listen(engine, "before_cursor_execute", note)
    assert held.take_name("acme") == []
    event.remove(engine, "before_cursor_execute", note)
    assert sum("leftovers" in one and not one.startswith("SELECT jobs") for one in ran) == 1
    assert not any(one.startswith(("INSERT", "DELETE")) for one in ran)


@pytest.fixture
def plant(engine: Engine) -> Callable[..., None]:
    """Write a row of job 1 that this program has not written."""

    def write(path: str, **columns: Any) -> None:
        row = {"job_id": 1, "base_url": BASE_URL, "account": "acme", "model_id": "m"}
        row |= {"path": path, "session_uri": URI, "session_at": NOW, "address_seal": None}
        with engine.begin() as connection:
            connection.execute(leftovers.insert().values(**row))
            if columns:
                set_to = ", ".join(f"{name} = :{name}" for name in columns)
                connection.execute(text(f"UPDATE leftovers SET {set_to}"), columns)

    return write


def test_after_rows_that_somebody_else_wrote_the_others_are_told_all_the_same(
    engine: Engine,
    claimed: Callable[..., Held],
    plant: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("uploader.store.leftovers._PORTION", 1)
    held = claimed()
    for path in ("../a", "../b", PATH):
        plant(path)
    assert uris(held.take_name("acme")) == [(PATH, URI)]
    assert left(engine) == 1


def test_a_time_that_cannot_be_read_keeps_no_job_from_its_model(
    engine: Engine, claimed: Callable[..., Held], plant: Callable[..., None]
) -> None:
    if engine.dialect.name == "postgresql":
        pytest.skip("PostgreSQL takes nothing but a time")
    held = claimed()
    plant(PATH, session_at="tomorrow")
    assert uris(held.take_name("acme")) == [(PATH, URI)]


@pytest.mark.parametrize("column", ["updated_at", "not_before"])
def test_nor_does_that_of_a_cancelled_job(
    engine: Engine, jobs: Jobs, opened: Open, another: Callable[..., Held], column: str
) -> None:
    if engine.dialect.name == "postgresql":
        pytest.skip("PostgreSQL takes nothing but a time")
    job_id = opened()
    jobs.apply(job_id, Verb.CANCEL, NOW)
    with engine.begin() as connection:
        nonsense = text(f"UPDATE jobs SET {column} = 'tomorrow' WHERE id = :id")
        connection.execute(nonsense, {"id": job_id})
    assert uris(another().take_name("acme")) == [(PATH, URI)]


@pytest.mark.parametrize("secret", [b"s" * 32, None])
@pytest.mark.parametrize("nonsense", [False, True])
def test_a_row_that_somebody_else_wrote_is_forgotten_and_told(
    engine: Engine,
    clock: Hands,
    new: Callable[..., NewJob],
    secret: bytes | None,
    *,
    nonsense: bool,
) -> None:
    jobs, claims = Jobs(engine, seal=Seal(secret)), Claims(engine, clock, seal=Seal(secret))
    job_id, _ = jobs.enqueue(new(), NOW)
    row = {"job_id": job_id, "base_url": BASE_URL, "account": "acme", "model_id": "m"}
    path = "../a" if nonsense else PATH
    with engine.begin() as connection:
        planted = {**row, "path": path, "session_uri": URI, "session_at": NOW}
        connection.execute(leftovers.insert().values(**planted, address_seal="00"))
    held = claims.claim("worker", BASE_URL, tuple(Stage), 60)
    assert held
    found = held.take_name("acme")
    believed = not nonsense and secret is None
    assert uris(found) == ([(PATH, URI)] if believed else [])
    assert left(engine) == believed
    assert ("left_open" in [event.kind for event in jobs.events(job_id)]) is not believed


def test_a_job_that_no_worker_may_hold_ends_nothing_for_ever(
    engine: Engine, clock: Hands, new: Callable[..., NewJob]
) -> None:
    """It is cancelled, and somebody else has changed it: its sessions are not looked at again."""
    seal = Seal(b"s" * 32)
    jobs, claims = Jobs(engine, seal=seal), Claims(engine, clock, seal=seal)
    job_id, _ = jobs.enqueue(new(), NOW)
    held = claims.claim("worker", BASE_URL, tuple(Stage), 60)
    assert held
    open_session(held, PATH, SessionUri(URI), None)
    held.release()
    jobs.restart(jobs.sealed(jobs.job(job_id)), new(), NOW)
    jobs.apply(job_id, Verb.CANCEL, NOW)
    with engine.begin() as connection:
        connection.execute(update(jobs_table).values(path="/etc"))
    assert claims.claim_cancelled("worker", BASE_URL, 60) is None
    assert left(engine) == 0
    assert not claims.any_open(BASE_URL)
