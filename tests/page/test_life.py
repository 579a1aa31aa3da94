"""A job's whole life on the page, its worker killed in the middle of it."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.acceptance.conftest import MIB, World, until
from tests.page.conftest import DEADLINE_MS, Tab
from uploader.sandbox.server import Sandbox

pytestmark = [pytest.mark.long, pytest.mark.acceptance]

#: Within which the page says that the daemon is gone.
NOTICED_S = 12.0


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with Sandbox(data_dir=tmp_path / "objects") as box:
        made = World(box, tmp_path)
        (tmp_path / "models").mkdir()
        made.environment["UPLOADER_API__ROOTS"] = str(tmp_path / "models")
        yield made


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def link(world: World) -> str:
    until(lambda: world.uploader("dashboard", expect=None).returncode == 0)
    return world.uploader("dashboard").stdout.strip()


def test_from_enqueue_to_ready_paused_resumed_and_killed(world: World, tab: Tab) -> None:
    source = world.model("models/tiny", a_bin=24 * MIB, b_bin=MIB, c_bin=MIB)
    throttled = {"on": "put", "match": "b.bin", "do": "status", "status": 429, "times": 2}
    world.box.world.script.add([throttled])
    world.hold("a.bin", at_byte=10 * MIB)
    listen = ("--listen", f"127.0.0.1:{free_port()}")
    page, pill = tab.page, tab.page.locator(".pill")
    with world.worker(*listen) as worker:
        page.goto(link(world))
        tab.has("There are no jobs yet")
        tab.look("empty")
        page.get_by_role("link", name="Enqueue a folder").click()
        page.get_by_role("button", name="models").click()
        page.get_by_role("button", name="tiny (a model)").click()
        page.get_by_role("button", name="Check this folder").click()
        page.get_by_role("button", name="Enqueue it").click()
        tab.has("Its life")
        tab.has("in flight")
        page.get_by_role("button", name="Pause tiny").click()
        expect(pill).to_have_text("paused", timeout=DEADLINE_MS)
        page.get_by_role("button", name="Resume tiny").click()
        expect(pill).to_have_text("active", timeout=DEADLINE_MS)
        until(lambda: world.job()["files_stored"] == 4)
        expect(page.locator(".figures")).to_contain_text("4 of 5 files", timeout=DEADLINE_MS)
        tab.look("job-under-way")
        page.get_by_role("link", name="All jobs").click()
        tab.has("Under way")
        tab.look("overview-under-way")
        page.get_by_role("link", name="tiny").click()
        tab.has("Its life")
        assert tab.console == []
        page.evaluate("window.loaded = 'once'")
        figures = page.locator(".figures").inner_text()
        world.kill(worker)
    killed = time.monotonic()
    tab.has("The daemon is gone")
    assert time.monotonic() - killed < NOTICED_S
    assert page.locator(".figures").inner_text() == figures
    tab.look("daemon-gone")
    with world.worker(*listen):
        page.get_by_text("The daemon is gone").wait_for(state="hidden")
        expect(pill).to_have_text("done", timeout=DEADLINE_MS)
        tab.has("What next", "rescued")
        tab.look("job-done")
        page.get_by_role("link", name="All jobs").click()
        tab.has("Finished")
        tab.look("overview-done")
        assert page.evaluate("window.loaded") == "once"
    assert [line for line in tab.console if "net::ERR" not in line] == []
    world.assert_identical(source, "tiny")
    world.assert_kept_every_promise()
