"""`retry --rescan` and `--replace`: the same job again, with its folder as it is now."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from tests.engine.conftest import GRANULE, Lab
from uploader.core.errors import UploaderError, UsageError, VerbRefused
from uploader.core.job import Job, Stage, Status
from uploader.core.lifecycle import Verb
from uploader.engine.hashing import Digests
from uploader.sandbox.script import Script
from uploader.sandbox.world import Model
from uploader.store.claims import Claims
from uploader.store.database.workers import WorkerLock

SIZE = 6 * GRANULE + 7
MODEL = "accounts/sandbox/models/model"


def interrupted(lab: Lab, **sizes: int) -> Path:
    """A job stopped in the middle of its file `a.bin`; its folder."""
    folder = lab.model("model", **(sizes or {"a_bin": SIZE}))
    lab.enqueue(folder)
    lab.world.script.add([{"on": "put", "match": "a.bin", "do": "cut", "at_byte": 2 * GRANULE},
                          {"on": "query", "match": "a.bin", "do": "status", "status": 503,
                           "times": 0}])  # fmt: skip
    lab.run_until(lambda: lab.file().attempts > 0, digests=Digests.ON)
    lab.world.script = Script()
    assert lab.file().session is not None
    return folder


def failed(lab: Lab, **sizes: int) -> Path:
    """The same, with other bytes in `a.bin` and therefore failed; the folder."""
    folder = interrupted(lab, **sizes)
    rewrite(folder / "a.bin", SIZE)
    lab.run(digests=Digests.ON)
    assert lab.job().status is Status.FAILED, lab.dump()
    return folder


def rewrite(path: Path, size: int) -> None:
    path.write_bytes(os.urandom(size))
    os.utime(path, ns=(1, path.stat().st_mtime_ns + 10**9))


def rescan(lab: Lab, folder: Path, **how: Any) -> Job:
    return lab.jobs.restart(lab.sealed(), lab.new_job(folder), lab.clock.now(), **how)


def rows(lab: Lab) -> list[Any]:
    with lab.engine.connect() as connection:
        return [
            tuple(row)
            for table in ("jobs", "files", "events")
            for row in connection.execute(text(f"SELECT * FROM {table}"))
        ]


def refused(lab: Lab, folder: Path, **how: bool) -> UploaderError:
    """The error of a rescan that must not write anything."""
    before = rows(lab)
    with pytest.raises((UsageError, VerbRefused)) as caught:
        rescan(lab, folder, **how)
    assert rows(lab) == before
    assert caught.value.hint
    return caught.value


# -- rescan ------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [SIZE, GRANULE, SIZE + GRANULE])
def test_a_rescan_brings_the_new_bytes_to_the_same_model(lab: Lab, size: int) -> None:
    folder = failed(lab, a_bin=SIZE, b_bin=9)
    rewrite(folder / "a.bin", size)
    old_uris = list(lab.world.sessions)
    job = rescan(lab, folder)
    assert (job.status, job.stage, job.run_number, job.reason) == (
        Status.ACTIVE,
        Stage.CREATE,
        2,
        None,
    )
    assert (job.bytes_sent, job.bytes_confirmed, job.files_stored, job.attempts) == (0, 0, 0, 0)
    assert job.bytes_total == size + 9
    assert job.created_remotely
    assert not any(uri in str(row) for uri in old_uris for row in rows(lab))
    lab.run()
    lab.assert_ready()
    assert lab.world.report()["creates"] == 1
    assert lab.job().bytes_sent == size + 9
    kinds = lab.kinds()
    life = kinds.index("rescanned")
    assert kinds.index("enqueued") < kinds.index("failed") < life
    assert kinds[life:].count("stored") == 2
    assert "adopted" in kinds[life:]


def test_the_folder_as_it_was_rescanned_is_still_this_job(lab: Lab) -> None:
    folder = failed(lab)
    rescan(lab, folder)
    assert lab.enqueue(folder) == 1
    lab.run()
    assert lab.enqueue(folder) == 1
    assert lab.job().status is Status.DONE


def test_other_names_are_refused_with_what_differs(lab: Lab) -> None:
    folder = failed(lab)
    (folder / "a.bin").rename(folder / "b.bin")
    error = refused(lab, folder)
    assert "added b.bin; missing a.bin" in error.message
    assert "--replace" in error.hint


def test_other_names_are_fine_if_no_model_was_created_yet(lab: Lab) -> None:
    lab.key = "wrong"
    folder = lab.model()
    lab.enqueue(folder)
    lab.run()
    assert lab.job().status is Status.BLOCKED
    for name in ("b.bin", "c.bin"):  # the second one in a life that is no longer the first
        rewrite(folder / name, 5)
        rescan(lab, folder)
    lab.key = lab.world.config.api_key
    lab.run()
    lab.assert_ready()
    assert lab.job().run_number == 3


PEFT = {"baseModel": "accounts/f/models/a", "r": 8, "targetModules": ["q_proj", "v_proj"]}


@pytest.mark.parametrize(
    ("details", "words"),
    [
        ({"baseModel": "accounts/f/models/b"}, "its base model is accounts/f/models/a"),
        ({"r": 16}, "its rank is 8, ours is 16"),
        ({"targetModules": ["q_proj"]}, "its target modules are q_proj, v_proj, ours are q_proj"),
        ({"targetModules": ["v_proj", "q_proj"]}, ""),
    ],
)
def test_another_adapter_is_refused(lab: Lab, details: dict[str, Any], words: str) -> None:
    folder = lab.model()
    new = lab.new_job(folder)
    model = {**new.create_body["model"], "peftDetails": PEFT}
    lab.enqueue(folder, create_body={"modelId": "model", "model": model})
    lab.world.script.add([{"on": "urls", "do": "status", "status": 503, "times": 0}])
    lab.run_until(lambda: lab.job().model_exists)
    other = {**model, "peftDetails": {**PEFT, **details}}
    again = replace(new, create_body={"modelId": "model", "model": other})
    if words:
        with pytest.raises(UsageError, match=words):
            lab.jobs.restart(lab.sealed(), again, lab.clock.now())
    else:
        assert lab.jobs.restart(lab.sealed(), again, lab.clock.now()).run_number == 2


@pytest.mark.parametrize("verb", [None, Verb.PAUSE])
def test_a_waiting_or_paused_job_starts_over_too(lab: Lab, verb: Verb | None) -> None:
    folder = interrupted(lab)
    if verb:
        lab.jobs.apply(1, verb, lab.clock.now())
    rewrite(folder / "a.bin", SIZE)
    assert rescan(lab, folder).status is Status.ACTIVE
    lab.run()
    lab.assert_ready()
    assert lab.object()["sessions_started"] == 2


def test_a_closed_job_does_not_start_over(lab: Lab) -> None:
    folder = lab.model()
    lab.enqueue(folder)
    lab.run()
    assert "done job" in refused(lab, folder).message


def test_a_job_in_the_hands_of_a_worker_is_left_to_it(lab: Lab) -> None:
    folder = lab.model()
    lab.enqueue(folder)
    with WorkerLock(lab.state) as lock:
        claims = Claims(lab.engine, lab.clock.now)
        claims.claim(lock.owner, lab.world.base_url, tuple(Stage), 60.0)
        assert "uploader pause 1" in refused(lab, folder).hint


# -- replace -----------------------------------------------------------------------------------


def other_files(folder: Path) -> None:
    (folder / "a.bin").unlink()
    rewrite(folder / "b.bin", SIZE)


def assert_replaced(lab: Lab) -> None:
    lab.assert_ready()
    assert lab.world.report()["models"] == {MODEL: "READY"}
    fields = lab.world.models["sandbox", "model"].fields
    assert fields["baseModelDetails"]["huggingfaceFiles"] == ["b.bin"]
    assert list(lab.world.report()["objects"]) == ["sandbox/model/b.bin"]
    assert not lab.job().replace_first


def test_replace_deletes_the_model_and_creates_it_again(lab: Lab) -> None:
    folder = failed(lab)
    other_files(folder)
    assert rescan(lab, folder, replace=True).replace_first
    lab.run()
    assert_replaced(lab)
    assert lab.world.report()["creates"] == 2
    assert lab.job().created_remotely
    assert [kind for kind in lab.kinds() if kind in ("replaced", "deleted", "created")] == [
        "created", "replaced", "deleted", "created",
    ]  # fmt: skip


def test_a_model_that_only_seems_to_be_deleted_is_not_sent_to(lab: Lab) -> None:
    """`{}` may be the answer of anything on the way; earlier files are still there."""
    folder = failed(lab)
    other_files(folder)
    rescan(lab, folder, replace=True)
    lab.world.script.add([{"on": "delete", "do": "status", "status": 200, "body": {}, "times": 3}])
    lab.run()
    assert_replaced(lab)
    assert lab.kinds().count("deleted") == 1
    assert "adopted" not in lab.kinds()


def test_a_model_of_somebody_else_is_not_replaced(lab: Lab) -> None:
    folder = lab.model()
    fields = lab.new_job(folder).create_body["model"]
    lab.world.models["sandbox", "model"] = Model("sandbox", "model", fields, 0.0)
    lab.world.script.add([{"on": "urls", "do": "status", "status": 503, "times": 0}])
    lab.enqueue(folder)
    lab.run_until(lambda: "adopted" in lab.kinds())
    assert "did not create" in refused(lab, folder, replace=True).message


def test_a_model_that_is_gone_already_is_created_again(lab: Lab) -> None:
    folder = failed(lab)
    other_files(folder)
    lab.world.forget_objects(lab.world.models.pop(("sandbox", "model")))
    rescan(lab, folder, replace=True)
    lab.run()
    assert_replaced(lab)


FAULTS = [
    {"on": "delete", "do": "lost-answer"},
    {"on": "delete", "do": "reset-before"},
    {"on": "delete", "do": "status", "status": 503, "times": 2},
    {"on": "create", "do": "lost-answer"},
    {"on": "create", "do": "reset-before"},
    {"on": "create", "do": "status", "status": 503, "times": 2},
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault['on']} {fault['do']}")
def test_a_replacement_survives_the_network(lab: Lab, fault: dict[str, Any]) -> None:
    folder = failed(lab)
    other_files(folder)
    rescan(lab, folder, replace=True)
    lab.world.script.add([fault])
    lab.run()
    assert_replaced(lab)


def blocked_between(lab: Lab) -> Path:
    """Replaced as far as the deletion; the new one is refused for want of a quota."""
    folder = failed(lab)
    other_files(folder)
    rescan(lab, folder, replace=True)
    body = {"code": 8, "message": "quota exceeded", "details": []}
    lab.world.script.add([{"on": "create", "do": "status", "status": 429, "body": body}])
    lab.run()
    assert lab.job().status is Status.BLOCKED, lab.dump()
    assert lab.world.report()["models"] == {}
    return folder


def test_what_somebody_creates_after_the_deletion_is_not_deleted(lab: Lab) -> None:
    blocked_between(lab)
    theirs = Model("sandbox", "model", {"kind": "HF_BASE_MODEL"}, 0.0, state="READY")
    lab.world.models["sandbox", "model"] = theirs
    lab.jobs.apply(1, Verb.RETRY, lab.clock.now())
    lab.run()
    assert lab.world.models["sandbox", "model"] is theirs
    reason = lab.job().reason
    assert reason is not None
    assert reason.code == "already_exists"


@pytest.mark.parametrize("verbs", [[], [Verb.PAUSE, Verb.RESUME], [Verb.RETRY]])
def test_verbs_do_not_forget_a_replacement(lab: Lab, verbs: list[Verb]) -> None:
    folder = failed(lab)
    other_files(folder)
    rescan(lab, folder, replace=True)
    for verb in verbs:
        lab.jobs.apply(1, verb, lab.clock.now())
    rewrite(folder / "b.bin", SIZE)
    rescan(lab, folder)  # what is to be created again may have any files
    lab.run()
    assert_replaced(lab)


def test_a_replacement_can_go_on_after_the_deletion_with_yet_other_files(lab: Lab) -> None:
    folder = blocked_between(lab)
    rewrite(folder / "c.bin", 5)
    rescan(lab, folder, replace=True)
    (folder / "c.bin").unlink()
    rescan(lab, folder)
    lab.run()
    assert_replaced(lab)


def test_a_job_given_up_before_its_replacement_deletes_nothing(lab: Lab) -> None:
    folder = failed(lab)
    rescan(lab, folder, replace=True)
    lab.jobs.apply(1, Verb.CANCEL, lab.clock.now())
    lab.run()
    assert list(lab.world.report()["models"]) == [MODEL]
    lab.jobs.remove(1, lab.clock.now())
