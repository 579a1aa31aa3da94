"""What somebody who may write the job table, but lacks its secret, can have a worker do."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import delete, insert, select, text, update

from tests.engine.conftest import GRANULE, Lab
from tests.engine.test_new_life import failed, rescan
from uploader.core.errors import UsageError, VerbRefused
from uploader.core.job import UNKNOWN_ACCOUNT, Stage, Status
from uploader.core.lifecycle import Verb
from uploader.core.seal import NO_SEAL, Seal
from uploader.engine.hashing import Digests
from uploader.sandbox.adapter import InProcessAdapter
from uploader.store.jobs import Jobs
from uploader.store.tables import files, jobs

SEAL, OTHER = Seal(b"s" * 32), Seal(b"o" * 32)
EVIL = "https://evil.example/upload?upload_id=1"


@pytest.fixture
def sealed(lab: Lab) -> Lab:
    lab.use(SEAL)
    return lab


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The address of every request."""
    found: list[str] = []
    send = InProcessAdapter.send

    def note(adapter: InProcessAdapter, request: Any, *more: Any, **named: Any) -> Any:
        found.append(request.url)
        return send(adapter, request, *more, **named)

    monkeypatch.setattr(InProcessAdapter, "send", note)
    yield found
    assert not any("evil" in url for url in found)


def write(lab: Lab, statement: Any) -> None:
    """As somebody who may write the database."""
    with lab.engine.begin() as connection:
        connection.execute(statement)


def begun(lab: Lab, account: str = "sandbox", **sizes: Any) -> int:
    """A job whose upload was interrupted in the middle."""
    job_id = lab.enqueue(lab.model(**sizes), account=account)
    lab.bytes_per_s = float(GRANULE)
    lab.run_until(lambda: lab.job(job_id).bytes_confirmed > 0)
    lab.bytes_per_s = None
    return job_id


@pytest.mark.parametrize("seal", [NO_SEAL, SEAL])
def test_a_sealed_job_goes_on_at_the_right_byte(lab: Lab, seal: Seal) -> None:
    lab.use(seal)
    begun(lab, a_bin=9 * GRANULE)
    lab.run()
    lab.assert_ready()
    assert lab.kinds().count("session_opened") == 1
    assert (lab.job().seal is None) == (seal is NO_SEAL)


@pytest.mark.parametrize("secret", [NO_SEAL, OTHER])
def test_a_job_of_somebody_without_the_secret_is_not_worked_on(
    sealed: Lab, secret: Seal, asked: list[str]
) -> None:
    planted = Jobs(sealed.engine, seal=secret)
    planted.enqueue(sealed.new_job(sealed.model("planted")), sealed.clock.now())
    sealed.run()
    job = sealed.job()
    assert (job.status, job.reason and job.reason.code) == (Status.FAILED, "unsealed")
    assert asked == []


def test_a_job_that_was_failed_instead_of_being_claimed_counts_for_the_result(sealed: Lab) -> None:
    Jobs(sealed.engine).enqueue(sealed.new_job(sealed.model("planted")), sealed.clock.now())
    with sealed.worker() as worker:
        sealed.finish(lambda: worker.run(until_idle=True))
    assert worker.seen == {1}


@pytest.mark.parametrize(
    "changed",
    [
        {"path": "/etc"},
        {"snapshot": "/etc"},
        {"model_id": "other"},
        {"account": "other"},
        {"account": "other", "stage": "upload"},
        {"kind": "lora"},
        {"create_body": {"modelId": "model", "model": {"public": True}}},
        {"options": {"allow": ["outside_link"]}},
    ],
)
def test_a_job_that_was_changed_is_failed_and_the_others_go_on(
    sealed: Lab, changed: dict[str, Any], asked: list[str]
) -> None:
    begun(sealed)
    other = sealed.enqueue(sealed.model("other-model"))
    write(sealed, update(jobs).where(jobs.c.id == 1).values(**changed))
    del asked[:]
    sealed.run()
    job = sealed.job()
    assert (job.status, job.reason and job.reason.code) == (Status.FAILED, "unsealed")
    assert not any("a.bin" in url and "other-model" not in url for url in asked)
    sealed.assert_ready(other)


def test_a_job_gets_no_further_file(sealed: Lab, asked: list[str]) -> None:
    folder = sealed.model(a_bin=5)
    sealed.enqueue(folder)
    (folder / "secret").write_bytes(b"secret")
    known = sealed.file()
    row = {"job_id": 1, "path": "secret", "size_bytes": 6, "fingerprint": known.fingerprint}
    write(sealed, insert(files).values(**row, seal=known.seal))
    sealed.run()
    assert (sealed.job().status, asked) == (Status.FAILED, [])


def test_a_job_loses_no_file(sealed: Lab, asked: list[str]) -> None:
    """Else the model would become READY without it, and nothing would tell."""
    sealed.enqueue(sealed.model(a_bin=5, b_bin=5))
    write(sealed, delete(files).where(files.c.path == "b.bin"))
    sealed.run()
    job = sealed.job()
    assert (job.status, job.reason and job.reason.code) == (Status.FAILED, "unsealed")
    assert asked == []


def test_a_job_loses_no_file_while_it_is_worked_on(sealed: Lab) -> None:
    sealed.enqueue(sealed.model(a_bin=9 * GRANULE, b_bin=0))

    def turn(name: str) -> None:
        if name == "create after":
            write(sealed, delete(files).where(files.c.path == "b.bin"))

    sealed.boundary = turn
    sealed.run()
    job = sealed.job()
    assert (job.status, job.reason and job.reason.code) == (Status.FAILED, "unsealed")


@pytest.mark.parametrize("changed", [{"size_bytes": 10 * GRANULE}, {"fingerprint": "linked:1:1"}])
def test_a_file_that_was_changed_is_not_sent(
    sealed: Lab, changed: dict[str, Any], asked: list[str]
) -> None:
    sealed.enqueue(sealed.model())
    write(sealed, update(files).values(**changed))
    sealed.run()
    assert (sealed.job().status, asked) == (Status.FAILED, [])


@pytest.mark.parametrize("column", ["session_uri", "upload_url"])
def test_a_file_is_not_sent_where_somebody_else_says(
    sealed: Lab, column: str, asked: list[str]
) -> None:
    begun(sealed, a_bin=9 * GRANULE, b_bin=9 * GRANULE)
    write(sealed, update(files).where(files.c.path == "a.bin").values(**{column: EVIL}))
    sealed.run()
    sealed.assert_ready()
    assert "session_dropped" in sealed.kinds()
    assert asked


def test_the_address_of_one_file_is_not_good_for_another(sealed: Lab, asked: list[str]) -> None:
    """Seal and address are copied whole; their place in the table is part of the seal."""
    begun(sealed, a_bin=9 * GRANULE, b_bin=9 * GRANULE)
    known = {file.path: file for file in sealed.jobs.files(1)}
    assert known["a.bin"].session
    assert known["b.bin"].session
    taken = {
        "session_uri": known["b.bin"].session.reveal(),
        "address_seal": known["b.bin"].address_seal,
    }
    write(sealed, update(files).where(files.c.path == "a.bin").values(**taken))
    del asked[:]
    sealed.run()
    sealed.assert_ready()
    dropped = [one.path for one in sealed.jobs.events() if one.kind == "session_dropped"]
    assert dropped == ["a.bin"]


def test_what_is_changed_while_it_is_worked_on_is_not_followed(
    sealed: Lab, asked: list[str]
) -> None:
    sealed.enqueue(sealed.model(a_bin=9 * GRANULE))

    def turn(name: str) -> None:
        if name == "create after":
            write(sealed, update(jobs).values(path="/etc"))

    sealed.boundary = turn
    sealed.run()
    job = sealed.job()
    assert (job.status, job.reason and job.reason.code) == (Status.FAILED, "unsealed")
    assert not any("a.bin" in url for url in asked)


def test_a_cancelled_job_leads_to_no_strange_address(sealed: Lab, asked: list[str]) -> None:
    begun(sealed, a_bin=9 * GRANULE)
    sealed.jobs.apply(1, Verb.CANCEL, sealed.clock.now())
    write(sealed, update(files).values(session_uri=EVIL))
    del asked[:]
    sealed.run()
    assert (sealed.job().status, asked) == (Status.CANCELLED, [])
    assert sealed.file().session is None


def test_of_a_cancelled_job_that_was_changed_nothing_is_deleted(
    sealed: Lab, asked: list[str]
) -> None:
    begun(sealed, a_bin=9 * GRANULE)
    sealed.jobs.apply(1, Verb.CANCEL, sealed.clock.now(), delete_remote=True)
    write(sealed, update(jobs).values(model_id="another"))
    del asked[:]
    sealed.run()
    assert (sealed.kinds()[-1], asked) == ("left_open", [])


def test_a_new_run_does_not_seal_what_somebody_else_wrote(sealed: Lab) -> None:
    folder = sealed.model()
    sealed.enqueue(folder)
    new, known = sealed.new_job(folder), sealed.sealed()
    write(sealed, update(jobs).values(path="/etc"))
    with pytest.raises(UsageError, match="no seal"):
        sealed.sealed()
    with pytest.raises(UsageError, match="no seal"):
        sealed.jobs.restart(known, new, sealed.clock.now())
    with pytest.raises(UsageError, match="no seal"):
        sealed.jobs.check_restart(known, new)


def test_a_new_run_is_of_the_row_of_which_it_was_planned(sealed: Lab) -> None:
    """A row that was sealed once may be put back: the plan of one is not carried out on another."""
    folder = sealed.model()
    sealed.enqueue(folder)
    planned, new = sealed.sealed(), sealed.new_job(folder)
    (folder / "b.bin").write_bytes(b"more")
    sealed.jobs.restart(planned, sealed.new_job(folder), sealed.clock.now())
    with pytest.raises(VerbRefused, match="changed meanwhile"):
        sealed.jobs.check_restart(planned, new)
    with pytest.raises(VerbRefused, match="changed meanwhile"):
        sealed.jobs.restart(planned, new, sealed.clock.now())
    assert sealed.job().run_number == 2


def test_a_file_that_was_lost_with_its_model_is_not_stored_by_a_row_that_is_put_back(
    sealed: Lab,
) -> None:
    """Files that `retry --rescan` kept are of another run than those of the model made anew."""
    folder = failed(sealed, a_bin=6 * GRANULE + 7, b_bin=GRANULE)
    sealed.jobs.apply(1, Verb.RETRY, sealed.clock.now())
    sealed.run(digests=Digests.ON)
    kept = [file for file in sealed.jobs.files(1) if file.stored]
    rescan(sealed, folder, kept=kept)
    with sealed.engine.connect() as connection:
        row = connection.execute(select(files).where(files.c.path == "b.bin")).one()
    assert row.stored
    sealed.world.forget_objects(sealed.world.models.pop(("sandbox", "model")))
    sealed.bytes_per_s = GRANULE / 8
    sealed.run_until(lambda: sealed.job().stage is Stage.UPLOAD)
    sealed.bytes_per_s = None
    write(sealed, update(files).where(files.c.path == "b.bin").values(row._asdict()))
    sealed.run()
    sealed.assert_ready()
    assert sealed.world.report()["early_validations"] == 0


@pytest.mark.parametrize("at", [None, datetime(2026, 1, 1, tzinfo=UTC)])
def test_nobody_else_says_which_model_it_was(sealed: Lab, at: datetime | None) -> None:
    sealed.enqueue(sealed.model())
    sealed.bytes_per_s = GRANULE / 8
    sealed.run_until(lambda: sealed.job().stage is Stage.UPLOAD)
    assert sealed.job().model_created_at
    write(sealed, update(jobs).values(model_created_at=at))
    sealed.run()
    reason = sealed.job().reason
    assert reason
    assert (sealed.job().status, reason.code) == (Status.FAILED, "unsealed")


@pytest.mark.parametrize("word", ["INSERT", "UPDATE"])
@pytest.mark.parametrize("turned", ["model_id = 'other'", """create_body = '{"public": 1}'"""])
def test_what_is_sealed_is_what_was_meant_and_not_what_the_database_made_of_it(
    sealed: Lab, word: str, turned: str, asked: list[str]
) -> None:
    """With PostgreSQL, a row that was locked may be another one by the time it is written."""
    program = f"CREATE TRIGGER t AFTER {word} ON jobs BEGIN UPDATE jobs SET {turned}; END"
    folder = sealed.model()
    if word == "UPDATE":
        sealed.enqueue(folder)
    write(sealed, text(program))
    if word == "UPDATE":
        sealed.jobs.restart(sealed.sealed(), sealed.new_job(folder), sealed.clock.now())
    else:
        sealed.enqueue(folder)
    write(sealed, text("DROP TRIGGER t"))
    sealed.run()
    job = sealed.job()
    assert (job.status, job.reason and job.reason.code) == (Status.FAILED, "unsealed")
    assert asked == []


def test_the_account_that_the_service_names_is_sealed(sealed: Lab) -> None:
    begun(sealed, account=UNKNOWN_ACCOUNT, a_bin=9 * GRANULE)
    sealed.run()
    assert (sealed.job().account, sealed.job().status) == ("sandbox", Status.DONE)


def test_a_new_run_is_sealed(sealed: Lab) -> None:
    begun(sealed)
    sealed.jobs.restart(
        sealed.sealed(), sealed.new_job(sealed.folder / "model"), sealed.clock.now()
    )
    sealed.run()
    sealed.assert_ready()


def test_a_file_that_was_touched_is_sealed_again(sealed: Lab) -> None:
    begun(sealed, a_bin=9 * GRANULE)
    (sealed.folder / "model" / "a.bin").touch()
    sealed.run()
    sealed.assert_ready()
    assert "reidentified" in sealed.kinds()


def test_a_worker_without_the_secret_leaves_a_job_to_those_that_have_it(sealed: Lab) -> None:
    begun(sealed, a_bin=9 * GRANULE)
    before = sealed.job(), sealed.jobs.files(1), sealed.kinds()
    sealed.use(NO_SEAL)
    other = sealed.enqueue(sealed.model("other"))
    sealed.run()
    sealed.assert_ready(other)
    assert (sealed.job(), sealed.jobs.files(1), sealed.kinds()) == before
    sealed.use(SEAL)
    sealed.run()
    sealed.assert_ready()
    assert sealed.kinds().count("session_opened") == 1


def test_verbs_without_the_secret_do_a_job_no_harm(sealed: Lab) -> None:
    begun(sealed, a_bin=9 * GRANULE)
    sealed.use(NO_SEAL)
    for verb in (Verb.PAUSE, Verb.RESUME):
        sealed.jobs.apply(1, verb, sealed.clock.now())
    write(sealed, update(jobs).values(status=Status.FAILED))
    sealed.jobs.apply(1, Verb.RETRY, sealed.clock.now())
    sealed.use(SEAL)
    sealed.run()
    sealed.assert_ready()
    assert sealed.kinds().count("session_opened") == 1


def test_whoever_gives_the_secret_up_starts_a_job_over_without_it(sealed: Lab) -> None:
    begun(sealed, a_bin=9 * GRANULE)
    sealed.use(NO_SEAL)
    new = sealed.new_job(sealed.folder / "model")
    sealed.jobs.restart(sealed.sealed(), new, sealed.clock.now())
    sealed.run()
    sealed.assert_ready()
