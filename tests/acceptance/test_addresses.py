"""One base URL in many spellings: commands and workers mean the same place, or both refuse."""

from __future__ import annotations

import pytest

from tests.acceptance.conftest import DEADLINE_S, World

pytestmark = [pytest.mark.acceptance, pytest.mark.long]

ELSEWHERE = "http://127.0.0.1:1"


@pytest.mark.parametrize("tail", ["/inference/v1/", "/inference", "/v1", "/v1/v1", "//"])
def test_a_job_is_taken_however_its_base_url_was_spelled(world: World, tail: str) -> None:
    spelled = world.box.base_url.replace("127.0.0.1", "LOCALHOST").replace("http", "HTTP")
    model = world.model("model", weights_bin=5)
    world.environment["FIREWORKS_BASE_URL"] = spelled + tail
    world.uploader("enqueue", model)
    world.environment["FIREWORKS_BASE_URL"] = spelled.lower()
    world.finish()
    world.assert_identical(model)


@pytest.mark.parametrize("url", ["https://key@host", "http://api.fireworks.ai", "https://h?v=1"])
@pytest.mark.parametrize("command", [("enqueue", "model"), ("run", "--until-idle"), ("status",)])
def test_every_command_refuses_the_same_base_urls(
    world: World, url: str, command: tuple[str, ...]
) -> None:
    world.environment["FIREWORKS_BASE_URL"] = url
    assert "hint: " in world.uploader(*command, expect=2).stderr
    assert not world.state.exists()


def test_a_job_that_no_worker_of_this_configuration_takes_is_reported_and_not_a_success(
    world: World,
) -> None:
    world.uploader("enqueue", world.model("model", weights_bin=5))
    here = world.environment["FIREWORKS_BASE_URL"]
    world.environment["FIREWORKS_BASE_URL"] = ELSEWHERE
    with world.worker("--until-idle") as process:
        assert process.wait(DEADLINE_S) == 2
    assert f"job 1 is for {here}" in world.log()
    assert f"for {here}" in world.uploader("status").stdout
    assert f"for {here}" in world.uploader("explain", 1).stdout


def test_a_run_over_its_own_jobs_and_one_it_passes_by_is_mixed(world: World) -> None:
    here = world.environment["FIREWORKS_BASE_URL"]
    world.environment["FIREWORKS_BASE_URL"] = ELSEWHERE
    world.uploader("enqueue", world.model("other", weights_bin=5))
    world.environment["FIREWORKS_BASE_URL"] = here
    world.uploader("enqueue", world.model("model", weights_bin=5))
    with world.worker("--until-idle") as process:
        assert process.wait(DEADLINE_S) == 9
    assert f"job 1 is for {ELSEWHERE}" in world.log()
    world.uploader("cancel", 1)
    world.finish()
