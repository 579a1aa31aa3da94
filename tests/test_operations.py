"""Every command that docs/operations.md shows is run, in the state that it is shown for."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.model.build import BASE, folder
from tests.reader import Reader, blocks

PAGE = (Path(__file__).parents[1] / "docs" / "operations.md").read_text()
SANDBOX = "uploader sandbox --env sandbox.env"


def shown() -> set[str]:
    """Its commands, in sentences, tables and blocks."""
    lines = re.findall(r"`(uploader(?: [^`]*)?)`", PAGE)
    return {*lines, *(line for block in blocks(PAGE, "sh") for line in block.splitlines())}


class Operator:
    """Types what the page shows, and remembers it."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.typed: set[str] = set()

    def __call__(self, command: str, job: int = 0, expect: int = 0, model: str = "left") -> str:
        assert command in shown()
        self.typed.add(command)
        words = {"JOB": str(job), " ID": f" {model}", "PATH": "elsewhere"}
        for word, given in words.items():
            command = command.replace(word, given)
        return self._reader.types(command, expect)

    def reason(self, job: int) -> str:
        document = json.loads(self._reader.types(f"uploader show {job} --json"))
        return str((document["reason"] or {}).get("code", document["status"]))


@pytest.mark.long
def test_every_command_shown_helps_in_the_state_that_it_is_shown_for(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    operator = Operator(reader)
    with reader.starts_the_sandbox(SANDBOX):
        a_changed_file_is_sent_anew(reader, operator)
        a_refused_model_is_replaced(reader, operator)
        what_a_failed_job_left_is_deleted(reader, operator)
        a_folder_that_is_gone_is_put_back_or_its_job_cancelled(reader, operator)
        a_model_made_elsewhere_gets_its_files(reader, operator)
        a_job_whose_workers_died_is_tried_at_once(reader, operator)
        a_model_that_somebody_made_again_is_deleted_and_sent_anew(reader, operator)
        for command in sorted(shown() - operator.typed - {"uploader run", "uploader dashboard"}):
            operator(command, job=1)
        with reader.starts_the_daemon("uploader run"):
            assert "http://127.0.0.1:" in operator("uploader dashboard")
    assert operator.typed == shown() - {"uploader run"}
    assert (tmp_path / "support.tar.gz").is_file()


def a_changed_file_is_sent_anew(reader: Reader, operator: Operator) -> None:
    model = folder(reader.home / "changed", BASE)
    reader.types("uploader enqueue changed")
    (model / "config.json").write_text('{"architectures": ["LlamaForCausalLM"], "x": 1}')
    reader.types("uploader run --until-idle", expect=12)
    assert operator.reason(1) == "source_changed"
    operator("uploader retry JOB --rescan", job=1)
    reader.types("uploader run --until-idle")
    assert operator.reason(1) == "done"


def a_refused_model_is_replaced(reader: Reader, operator: Operator) -> None:
    folder(reader.home / "refused", BASE)
    reader.types("uploader enqueue refused")
    reader.scripts({"on": "validate", "do": "status", "status": 400, "body": "no such tokenizer"})
    reader.types("uploader run --until-idle", expect=7)
    assert operator.reason(2) == "validation_failed"
    operator("uploader retry JOB --replace", job=2)
    reader.types("uploader run --until-idle")
    assert operator.reason(2) == "done"


def what_a_failed_job_left_is_deleted(reader: Reader, operator: Operator) -> None:
    folder(reader.home / "left", BASE)
    reader.types("uploader enqueue left")
    reader.scripts({"on": "validate", "do": "status", "status": 400, "body": "no such tokenizer"})
    reader.types("uploader run --until-idle", expect=7)
    assert re.search(r"left\tUPLOADING\t.*3", operator("uploader model list"))
    operator("uploader model delete ID --yes", job=3)
    assert "left" not in operator("uploader model list")


def a_folder_that_is_gone_is_put_back_or_its_job_cancelled(
    reader: Reader, operator: Operator
) -> None:
    model = folder(reader.home / "gone", BASE)
    reader.types("uploader enqueue gone")
    (model / "config.json").unlink()
    reader.types("uploader run --until-idle", expect=12)
    assert operator.reason(4) == "source_missing"
    (model / "config.json").write_bytes(BASE["config.json"])
    operator("uploader retry JOB", job=4)
    operator("uploader cancel JOB", job=4)
    assert operator.reason(4) == "cancelled"


def a_model_made_elsewhere_gets_its_files(reader: Reader, operator: Operator) -> None:
    folder(reader.home / "elsewhere", BASE)
    details = {"checkpointFormat": "HUGGINGFACE", "huggingfaceFiles": sorted(BASE)}
    fields = {"kind": "HF_BASE_MODEL", "baseModelDetails": details}
    reader.has_a_model(modelId="orphan", model=fields, state="UPLOADING")
    assert re.search(r"orphan\tUPLOADING\t.*-", operator("uploader model list"))
    assert operator("uploader model adopt ID PATH", model="orphan") == "5\n"
    reader.types("uploader run --until-idle")
    assert operator.reason(5) == "done"


def a_job_whose_workers_died_is_tried_at_once(reader: Reader, operator: Operator) -> None:
    folder(reader.home / "deadly", BASE)
    reader.types("uploader enqueue deadly")
    words = "reason_code = 'workers_died', reason_message = 'm', reason_hint = 'h', rescues = 40"
    later = "not_before = '2999-01-01 00:00:00.000000'"
    reader.in_the_store(f"UPDATE jobs SET {words}, {later} WHERE id = 6")
    assert operator.reason(6) == "workers_died"
    operator("uploader pause JOB", job=6)
    operator("uploader resume JOB", job=6)
    reader.types("uploader run --until-idle")
    assert operator.reason(6) == "done"


def a_model_that_somebody_made_again_is_deleted_and_sent_anew(
    reader: Reader, operator: Operator
) -> None:
    folder(reader.home / "again", BASE)
    reader.types("uploader enqueue again")
    reader.scripts({"on": "validate", "do": "status", "status": 400, "body": "no such tokenizer"})
    reader.types("uploader run --until-idle", expect=7)
    reader.in_the_store("UPDATE jobs SET model_created_at = '2026-01-01 00:00:00' WHERE id = 7")
    operator("uploader retry JOB", job=7)
    reader.types("uploader run --until-idle", expect=7)
    assert operator.reason(7) == "model_gone"
    operator("uploader model delete ID", model="again", expect=2)  # nobody can be asked here
    operator("uploader model delete ID --yes", model="again")
    operator("uploader retry JOB --replace", job=7)
    reader.types("uploader run --until-idle")
    assert operator.reason(7) == "done"
