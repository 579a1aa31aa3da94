"""What goes wrong ends in one line what, one line what to do, and the right exit code."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.conftest import DEADLINE_S, MIB, World, until

pytestmark = [pytest.mark.acceptance, pytest.mark.long]


def test_a_bad_key_blocks_and_a_cured_one_goes_on(world: World) -> None:
    world.uploader("enqueue", world.model("model", weights_bin=5))
    with world.worker("--until-idle", FIREWORKS_API_KEY="fw_wrong_00000000") as process:
        assert process.wait(DEADLINE_S) == 8
    reason = world.job()["reason"]
    assert reason["code"] == "key_rejected"
    assert reason["hint"]
    assert "fw_wrong" not in world.log()
    world.finish()


def test_a_model_that_is_ready_already_is_refused(world: World) -> None:
    model = world.model("model", weights_bin=5)
    world.uploader("enqueue", model)
    world.finish()
    world.uploader("remove", 1)
    world.uploader("enqueue", model)
    with world.worker("--until-idle") as process:
        assert process.wait(DEADLINE_S) == 7
    assert world.job(2)["reason"]["code"] == "already_exists"


def test_jobs_with_different_ends_are_mixed(world: World) -> None:
    world.uploader("enqueue", world.model("good", weights_bin=5))
    bad = world.model("bad", weights_bin=5)
    world.uploader("enqueue", bad)
    (bad / "weights.bin").write_bytes(b"another file")
    with world.worker("--until-idle") as process:
        assert process.wait(DEADLINE_S) == 9
    assert world.uploader("wait", "bad", expect=12).returncode == 12


def test_a_netrc_with_a_default_line_changes_nothing(world: World, tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text("default login somebody password leaked-by-netrc\n")
    (tmp_path / ".netrc").chmod(0o600)
    model = world.model("model", weights_bin=MIB)
    world.uploader("enqueue", model)
    world.finish(NETRC=str(tmp_path / ".netrc"))
    world.assert_identical(model)
    world.assert_kept_every_promise()


def test_no_secret_is_in_a_log_a_row_or_an_answer(world: World) -> None:
    fault = {"on": "put", "do": "cut", "at_byte": 9, "times": 3}
    world.box.world.script.add([fault])
    world.uploader("enqueue", world.model("model", weights_bin=MIB))
    world.finish()
    looks = ["status", "status --json", "show 1", "show 1 --json", "logs 1", "events", "explain 1"]
    said = [world.uploader(*words.split()).stdout for words in (*looks, "config show")]
    for text in (world.log(), *said):
        assert world.box.api_key not in text
        assert "upload_id" not in text
        assert "X-Goog" not in text
    database = (world.state / "uploader.db").read_bytes()
    assert world.box.api_key.encode() not in database


def test_files_are_private(world: World) -> None:
    world.environment["UPLOADER_TRANSFER__BANDWIDTH_LIMIT"] = "1MiB/s"
    world.uploader("enqueue", world.model("model", weights_bin=4 * MIB))
    with world.worker():
        until(lambda: world.received() > 0)
        for path in [world.state, *world.state.rglob("*")]:
            assert path.stat().st_mode & 0o077 == 0, path
