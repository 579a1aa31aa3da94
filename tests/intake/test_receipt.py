"""A receipt says what was sent, or there is none; what differs from it is named."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import google_crc32c
import pytest

from tests.test_files import opens_nothing
from uploader.core.errors import (
    Differs,
    NotFound,
    RemoteError,
    UsageError,
    VerbRefused,
)
from uploader.core.job import FileState, Kind, Stage, Status
from uploader.core.reasons import Code
from uploader.core.receipt_documents import sums
from uploader.core.remote_model import RemoteModel
from uploader.core.verdict import Call, Verdict
from uploader.core.whole_job import WholeJob
from uploader.intake import verify
from uploader.intake.receipt import receipt_of

AT = datetime(2026, 11, 22, 12, tzinfo=UTC)
CONTENTS = {"a/w.bin": b"weights" * 400_000, "config.json": b"{}", "empty": b""}
URL = "https://api.fireworks.ai"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, content in CONTENTS.items():
        path = tmp_path / "model" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "model"


def job(root: Path, status: Status = Status.DONE) -> WholeJob:
    return WholeJob(
        id=1, base_url=URL, account="acme", model_id="m", path=str(root), kind=Kind.BASE,
        stage=Stage.READY, status=status, created_at=AT, updated_at=AT,
        ready_at=AT, warnings=("slow",), bytes_total=sum(map(len, CONTENTS.values())),
        create_body={}, model_created_at=AT,
    )  # fmt: skip


def row(name: str, content: bytes) -> FileState:
    crc32c = google_crc32c.value(content)
    return FileState(
        1, name, len(content), "", stored=True, verified=True, crc32c=crc32c, generation=7,
        bytes_sent=9_000_000,
    )  # fmt: skip


FILES = [row(name, content) for name, content in CONTENTS.items()]


def test_each_file_is_a_subject_with_the_sha256_of_what_was_sent(root: Path) -> None:
    read: list[int] = []
    receipt = receipt_of(job(root), FILES, read.append)
    found = {one["name"]: one["digest"]["sha256"] for one in receipt["subject"]}
    assert found == {name: hashlib.sha256(c).hexdigest() for name, c in CONTENTS.items()}
    assert sum(read) == job(root).bytes_total
    assert receipt["_type"] == "https://in-toto.io/Statement/v1"
    predicate = receipt["predicate"]
    assert (predicate["model"], predicate["warnings"]) == ("accounts/acme/models/m", ["slow"])
    assert predicate["ready_at"] == "2026-11-22T12:00:00.000Z"
    assert predicate["upload_started_at"] is None
    assert predicate["versions"].keys() == {"uploader"}
    first = predicate["files"][0]
    assert first["crc32c_remote"] == first["crc32c"]
    assert first["generation"] == "7"  # as GCS writes it: JSON's numbers have 53 bits
    assert first["bytes_resent"] == 9_000_000 - 2_800_000


def test_what_the_service_did_not_say_is_not_in_the_receipt(root: Path) -> None:
    unverified = [replace(file, verified=False, generation=None) for file in FILES]
    for file in receipt_of(job(root), unverified)["predicate"]["files"]:
        assert (file["verified"], file["crc32c_remote"], file["generation"]) == (False, None, None)


def test_a_folder_that_is_gone_gives_no_receipt_and_a_hint_for_a_job_that_is_done(
    root: Path,
) -> None:
    shutil.rmtree(root)
    with pytest.raises(Differs) as refused:
        receipt_of(job(root), FILES)
    assert "integrity.sha256" in refused.value.hint


def test_a_digest_of_what_was_sent_needs_no_file(root: Path) -> None:
    known = [
        replace(file, sha256=hashlib.sha256(CONTENTS[file.path]).hexdigest(), sha256_as_sent=True)
        for file in FILES
    ]
    read: list[int] = []
    expected = receipt_of(job(root), FILES)
    (root / "config.json").write_bytes(b"[]")
    (root / "a" / "w.bin").unlink()
    assert not any(file["sha256_as_sent"] for file in expected["predicate"]["files"])
    for file in expected["predicate"]["files"]:
        file["sha256_as_sent"] = True
    assert receipt_of(job(root), known, read.append) == expected
    assert read == []
    with pytest.raises(Differs, match="config"):
        receipt_of(job(root), [known[0], FILES[1], known[2]])


def test_a_job_that_knows_the_sha256_is_compared_by_it(root: Path) -> None:
    known = [replace(FILES[0], sha256="0" * 64)]
    assert differences(verify.proof_of_job(job(root), known), root) == [("a/w.bin", "sha256")]


def test_two_receipts_of_one_job_are_equal(root: Path) -> None:
    assert json.dumps(receipt_of(job(root), FILES)) == json.dumps(receipt_of(job(root), FILES))


@pytest.mark.parametrize("status", [one for one in Status if one is not Status.DONE])
def test_a_job_that_is_not_done_has_none(root: Path, status: Status) -> None:
    with pytest.raises(VerbRefused, match=f"is {status}"):
        receipt_of(job(root, status), FILES)
    with pytest.raises(VerbRefused):
        verify.proof_of_job(job(root, status), FILES)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def grow(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"x")


def vanish(path: Path) -> None:
    path.unlink()


def become_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("harm", [flip, grow, vanish, become_a_folder])
def test_of_other_bytes_there_is_no_receipt(root: Path, harm: Callable[[Path], None]) -> None:
    harm(root / "a" / "w.bin")
    with pytest.raises(Differs, match=r"w\.bin"):
        receipt_of(job(root), FILES)


def test_a_file_that_is_written_to_while_it_is_read_has_no_receipt(root: Path) -> None:
    with pytest.raises(Differs, match="written to"):
        receipt_of(job(root), FILES, lambda _: grow(root / "a" / "w.bin"))


def test_sha256sum_reads_the_sums_whatever_a_file_is_called(tmp_path: Path) -> None:
    names = ["plain", "two words", " *?$(id)", "-c", "é", "a👩‍🚀.txt"]
    for name in names:
        (tmp_path / name).write_bytes(name.encode())
    files = [row(name, name.encode()) for name in names]
    text = sums(receipt_of(job(tmp_path), files))
    done = subprocess.run(
        ["sha256sum", "--check", "--strict"],
        input=text + "\n", text=True, cwd=tmp_path, check=True, capture_output=True,
    )  # fmt: skip
    assert done.stdout.count(": OK") == len(names)


# -- verify ------------------------------------------------------------------------------------


def receipt_at(root: Path) -> Path:
    document = receipt_of(job(root), FILES)
    path = root.parent / "receipt.json"
    path.write_text(json.dumps(document))
    return path


def differences(proof: verify.Proof, root: Path) -> list[tuple[str | None, str]]:
    return [(one.path, one.what) for one in verify.compare_files(proof, root)]


@pytest.mark.parametrize("from_receipt", [True, False])
def test_files_as_they_were_sent_differ_in_nothing(root: Path, from_receipt: bool) -> None:
    known = verify.proof_of_job(job(root), FILES)
    proof = verify.proof_of_receipt(receipt_at(root)) if from_receipt else known
    assert (proof.model, proof.root, proof.size_bytes) == (known.model, str(root), known.size_bytes)
    (root / "more.txt").write_text("not in the receipt")
    assert differences(proof, root) == []


@pytest.mark.parametrize(
    ("harm", "what"),
    [(flip, "sha256"), (grow, "size"), (vanish, "missing"), (become_a_folder, "unreadable")],
)
def test_each_difference_is_named(root: Path, harm: Callable[[Path], None], what: str) -> None:
    proof = verify.proof_of_receipt(receipt_at(root))
    harm(root / "a" / "w.bin")
    grow(root / "config.json")
    assert differences(proof, root) == [("a/w.bin", what), ("config.json", "size")]


def test_a_job_knows_the_crc32c(root: Path) -> None:
    flip(root / "a" / "w.bin")
    assert differences(verify.proof_of_job(job(root), FILES), root) == [("a/w.bin", "crc32c")]


def test_the_files_may_be_elsewhere_but_somewhere(root: Path) -> None:
    proof = verify.proof_of_receipt(receipt_at(root))
    moved = root.rename(root.parent / "moved")
    assert differences(proof, moved) == []
    root.symlink_to("x" * 300)  # of a name that no file can have, the system says an error
    for gone in (root, root / "model"):
        with pytest.raises(NotFound, match="no folder"):
            differences(proof, gone)


FLAWS: dict[str, Callable[[Any], object]] = {
    "another type": lambda r: r.update(predicateType="https://slsa.dev/provenance/v1"),
    "no predicate": lambda r: r.pop("predicate"),
    "a subject too few": lambda r: r["subject"].pop(),
    "a file too few": lambda r: r["predicate"]["files"].pop(),
    "a file twice": lambda r: r["predicate"]["files"].append(r["predicate"]["files"][0]),
    "no files": lambda r: r["predicate"].update(files=None),
    "an empty list of files": lambda r: (r["subject"].clear(), r["predicate"]["files"].clear()),
    "no model": lambda r: r["predicate"].update(model="accounts/a/models/../.."),
    "a number for a model": lambda r: r["predicate"].update(model=7),
    "no path": lambda r: r["predicate"].update(path="a\0b"),
    "no service": lambda r: r["predicate"].update(base_url=None),
    "a negative size": lambda r: r["predicate"]["files"][0].update(size_bytes=-1),
    "a size of 64 bits": lambda r: r["predicate"]["files"][0].update(size_bytes=1 << 63),
    "a size of 400 digits": lambda r: r["predicate"]["files"][0].update(size_bytes=10**400),
    "no size": lambda r: r["predicate"]["files"][0].update(size_bytes=True),
    "no CRC32C": lambda r: r["predicate"]["files"][0].update(crc32c="AAA"),
    "no SHA-256": lambda r: r["subject"][0]["digest"].update(sha256="ABC"),
    "no name": lambda r: r["subject"][0].update(name="\ud800"),
}


@pytest.mark.parametrize("unknown", [{"crc32c": None}, {"stored": False}])
def test_a_file_of_which_nothing_is_known_proves_nothing(
    root: Path, unknown: dict[str, Any]
) -> None:
    first, *others = (row(name, content) for name, content in CONTENTS.items())
    files = [*others, replace(first, **unknown)]
    for prove in (receipt_of, verify.proof_of_job):
        with pytest.raises(Differs, match="what was sent of"):
            prove(job(root), files)


def test_a_job_of_which_no_file_is_known_proves_nothing(root: Path) -> None:
    for proof in (receipt_of, verify.proof_of_job):
        with pytest.raises(Differs, match="no file of job 1"):
            proof(job(root), [])


@pytest.mark.parametrize("flaw", FLAWS)
def test_what_is_not_a_receipt_is_refused(root: Path, flaw: str) -> None:
    receipt = receipt_of(job(root), FILES)
    FLAWS[flaw](receipt)
    path = root.parent / "receipt.json"
    path.write_text(json.dumps(receipt))
    with pytest.raises(UsageError, match="is not a receipt") as refused:
        verify.proof_of_receipt(path)
    assert "uploader receipt JOB" in refused.value.hint


@pytest.mark.parametrize(
    "raw",
    [b"", b"\xff\xfe", b"[" * 100_000, b"{", b"1" * 9_999, b"[]", b"3"],
    ids=["empty", "not UTF-8", "deep", "open", "long", "a list", "a number"],
)
def test_what_is_not_json_is_refused(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "r.json").write_bytes(raw)
    with pytest.raises(UsageError, match="is not a receipt"):
        verify.proof_of_receipt(tmp_path / "r.json")


def test_a_receipt_of_countless_values_is_never_made_into_objects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json, "loads", Mock(side_effect=AssertionError))
    (tmp_path / "many.json").write_bytes(b"[" + b"[]," * 1_000_000 + b"[]]")
    with pytest.raises(UsageError, match="too large"):
        verify.proof_of_receipt(tmp_path / "many.json")


def test_a_pipe_that_is_called_a_receipt_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "r.json")
    with pytest.raises(UsageError, match="is not a receipt"):
        verify.proof_of_receipt(tmp_path / "r.json")


def test_what_a_receipt_names_is_not_opened_unless_it_is_a_file(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proof = verify.proof_of_job(job(root), FILES)
    for name in CONTENTS:
        (root / name).unlink()
        (root / name).symlink_to("/dev/ptmx")
    monkeypatch.setattr(os, "open", opens_nothing)
    found = [*verify.compare_files(proof, root)]
    assert [one.what for one in found] == ["unreadable"] * len(CONTENTS)


def test_a_receipt_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFound):
        verify.proof_of_receipt(tmp_path / "nowhere.json")
    with pytest.raises(UsageError, match="cannot read"):
        verify.proof_of_receipt(tmp_path)
    (tmp_path / "long.json").write_text("{}    ")
    monkeypatch.setattr(verify, "MAX_RECEIPT_BYTES", 3)
    with pytest.raises(UsageError, match="too large"):
        verify.proof_of_receipt(tmp_path / "long.json")


@pytest.mark.parametrize("name", ["../w", "/etc/passwd", "a/../../w", "", ".", "a//b", "a\0b"])
def test_no_name_in_a_receipt_leads_out_of_the_folder(root: Path, name: str) -> None:
    receipt: Any = receipt_of(job(root), FILES)
    receipt["subject"][0]["name"] = receipt["predicate"]["files"][0]["name"] = name
    path = root.parent / "receipt.json"
    path.write_text(json.dumps(receipt))
    with pytest.raises(UsageError, match="is not a receipt"):
        verify.proof_of_receipt(path)


# -- the model on the service ------------------------------------------------------------------


class Service:
    """What is used of `Fireworks`."""

    def __init__(self, answer: RemoteModel | RemoteError) -> None:
        self._answer = answer

    def get(self, account: str, model_id: str) -> RemoteModel:
        assert (account, model_id) == ("acme", "m")
        if isinstance(self._answer, RemoteError):
            raise self._answer
        return self._answer


def remote(
    state: str = "READY", files: tuple[str, ...] | None = None, at: datetime | None = None
) -> RemoteModel:
    return RemoteModel(state, "", "", "HF_BASE_MODEL", files, "", created_at=at)


def online(root: Path, answer: RemoteModel | RemoteError, url: str = URL) -> list[Any]:
    proof, service = verify.proof_of_job(job(root), FILES), Service(answer)
    found = verify.compare_model(proof, service, url)  # type: ignore[arg-type]
    return [(one.path, one.what) for one in found]


def refused(verdict: Verdict) -> RemoteError:
    return RemoteError(verdict, Call.GET, "no", code=Code.MODEL_GONE)


def test_the_model_is_compared_too(root: Path) -> None:
    assert online(root, remote()) == []
    assert online(root, remote(files=tuple(CONTENTS))) == []
    assert online(root, remote("FAILED")) == [(None, "state")]
    assert online(root, remote(at=AT)) == []
    assert online(root, remote(at=AT + timedelta(minutes=2))) == [(None, "model")]
    assert online(root, remote(files=("config.json", "empty", "x"))) == [
        ("a/w.bin", "files"),
        ("x", "files"),
    ]
    assert online(root, refused(Verdict.ABSENT)) == [(None, "model")]


def test_no_answer_is_not_a_difference(root: Path) -> None:
    with pytest.raises(RemoteError):
        online(root, refused(Verdict.TRANSIENT))


def test_the_key_never_goes_where_a_receipt_says(root: Path) -> None:
    with pytest.raises(UsageError, match="configured service"):
        online(root, remote(), "https://elsewhere.example")
