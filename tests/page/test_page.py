"""The page in a browser: without a mouse, without a worker, and while another page is hostile."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, expect

from tests.page.conftest import DEADLINE_MS, Tab
from tests.service.conftest import Site
from uploader import wiring
from uploader.core.api_reasons import ApiCode
from uploader.service.http import folders, looks
from uploader.service.http.door import link_of
from uploader.service.http.problems import Refusal

pytestmark = [pytest.mark.long, pytest.mark.acceptance]


def open_page(tab: Tab, site: Site) -> None:
    tab.page.goto(link_of(site.settings, wiring.clock().now()))
    tab.has("no worker runs")


def test_eight_tabs_share_one_stream_and_all_of_them_work(
    site: Site, tab: Tab, context: BrowserContext
) -> None:
    """A browser has six connections to a daemon."""
    open_page(tab, site)
    tabs = [tab, *(Tab(context.new_page()) for _ in range(7))]
    for another in tabs[1:]:
        another.page.goto(tab.page.url)
        another.has("no worker runs")
    assert site.ask("/api/jobs", {"path": str(site.folder("my-model"))}).status == 201
    for another in tabs:
        another.has("my-model")
    tab.page.close()
    tabs[7].page.get_by_role("button", name="Pause my-model").click()
    for another in tabs[1:]:
        expect(another.page.get_by_role("button", name="Resume my-model")).to_be_visible()
        assert another.console == []


def test_an_address_that_is_no_address_is_told(site: Site, tab: Tab) -> None:
    open_page(tab, site)
    tab.page.goto(f"{tab.page.url.partition('#')[0]}#/jobs/%")
    tab.has("there is no job %")


def test_a_finding_names_its_file_once(site: Site, tab: Tab) -> None:
    (site.folder("my-model") / "config.json").write_text("{")
    open_page(tab, site)
    for name in ("Enqueue a folder", "roots", "my-model (a model)", "Check this folder"):
        tab.press_tab_to(name)
        tab.page.keyboard.press("Enter")
    tab.has("This folder is refused")
    (said,) = [one for one in tab.page.locator("li.error").all_inner_texts() if "JSON" in one]
    assert said.partition("(")[0].count("config.json") == 1


def test_a_warning_of_a_job_names_its_file_once(site: Site, tab: Tab) -> None:
    path = site.folder("my-model")
    (path / "config.json").write_text('{"architectures": ["OurOwn"]}')
    assert site.ask("/api/jobs", {"path": str(path)}).status == 201
    open_page(tab, site)
    tab.page.get_by_role("link", name="my-model").click()
    tab.has("Warnings")
    said = tab.page.locator("li").filter(has_text="OurOwn").inner_text()
    assert said.partition("(")[0].count("config.json") == 1


def test_a_folder_is_enqueued_and_its_job_paused_by_keyboard_alone(site: Site, tab: Tab) -> None:
    site.folder("my-model")
    open_page(tab, site)
    for name in ("Enqueue a folder", "roots", "my-model (a model)", "Check this folder"):
        tab.press_tab_to(name)
        tab.page.keyboard.press("Enter")
    tab.has("The plan")
    tab.look("plan")
    tab.press_tab_to("Enqueue it")
    tab.page.keyboard.press("Enter")
    tab.has("Its life", "on average from one stored file to the next")
    tab.press_tab_to("Pause my-model")
    tab.page.keyboard.press("Space")
    expect(tab.page.locator(".pill")).to_have_text("paused", timeout=DEADLINE_MS)
    tab.press_tab_to("Cancel my-model")
    tab.page.keyboard.press("Enter")
    tab.has("The upload is given up")
    tab.passes_axe("the question")
    tab.page.keyboard.press("Escape")
    expect(tab.page.locator("dialog")).to_have_count(0)
    assert site.jobs.job(1).status == "paused"
    tab.press_tab_to("Cancel my-model")
    tab.page.keyboard.press("Enter")
    tab.press_tab_to("Cancel the job")
    tab.page.keyboard.press("Enter")
    expect(tab.page.locator(".pill")).to_have_text("cancelled", timeout=DEADLINE_MS)
    assert tab.console == []


@pytest.fixture
def silent(site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder whose list waits for a disk, for longer than the page waits for other answers."""
    answers, listed = threading.Event(), folders._listed
    path = site.folder("silent/model").parent

    def late(roots: tuple[Path, ...], asked: str, *how: Any) -> folders.FoldersDocument:
        if asked == str(path):
            answers.wait(DEADLINE_MS / 1000)
        return listed(roots, asked, *how)

    monkeypatch.setattr(folders, "_listed", late)
    monkeypatch.setattr(looks, "PATIENCE_S", 9.0)
    yield path
    answers.set()


@pytest.mark.usefixtures("silent")
def test_a_folder_whose_disk_does_not_answer_is_refused_in_words(site: Site, tab: Tab) -> None:
    open_page(tab, site)
    for name in ("Enqueue a folder", "roots", "silent"):
        tab.press_tab_to(name)
        tab.page.keyboard.press("Enter")
    tab.has(f"Looking at {site.roots}/silent")
    refused = "The disk of the folder does not answer: see whether the disk or the file server is"
    expect(tab.page.get_by_role("alert")).to_contain_text(refused, timeout=DEADLINE_MS)
    expect(tab.page.locator("p.path")).to_have_text(str(site.roots))
    expect(tab.page.get_by_role("button", name="Check this folder")).to_be_enabled()


def test_a_folder_in_a_list_that_does_not_answer_is_named_and_the_others_can_be_chosen(
    site: Site, tab: Tab, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, asked = threading.Event(), folders._folder
    site.folder("evil")
    site.folder("good/my-model")

    def late(path: Path, name: str) -> folders.FolderJson:
        if name == "evil":
            answers.wait(DEADLINE_MS / 1000)
        return asked(path, name)

    monkeypatch.setattr(folders, "_folder", late)
    open_page(tab, site)
    tab.page.get_by_role("link", name="Enqueue a folder").click()
    tab.page.get_by_role("button", name="roots").click()
    tab.has("evil (its disk does not answer)", "good")
    tab.passes_axe("a silent folder")
    assert tab.page.get_by_role("button", name="evil").count() == 0
    answers.set()
    tab.page.get_by_role("button", name="Ask again").click()
    tab.has("evil (a model)")
    tab.page.get_by_role("button", name="good").click()
    tab.has("my-model (a model)")


def test_what_is_refused_late_is_not_told_of_the_folder_that_was_chosen_meanwhile(
    site: Site, tab: Tab, silent: Path
) -> None:
    site.folder("good/my-model")
    open_page(tab, site)
    tab.page.get_by_role("link", name="Enqueue a folder").click()
    tab.page.get_by_role("button", name="roots").click()
    with tab.page.expect_response(lambda one: one.url.endswith("silent")) as refused:
        tab.page.get_by_role("button", name=silent.name).click()
        tab.page.get_by_role("button", name="good").click()
        tab.has("my-model (a model)")
    assert refused.value.status == 503
    refused.value.finished()
    tab.page.evaluate("new Promise((done) => setTimeout(done, 200))")  # the page has read it
    expect(tab.page.locator("p.path")).to_have_text(f"{site.roots}/good")
    expect(tab.page.get_by_role("alert")).to_be_hidden()


def test_a_list_of_the_first_folders_that_was_refused_can_be_asked_for_again(
    site: Site, tab: Tab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise Refusal(ApiCode.FOLDER_SILENT)

    with monkeypatch.context() as refusing:
        refusing.setattr(folders, "_listed", refuse)
        open_page(tab, site)
        tab.page.get_by_role("link", name="Enqueue a folder").click()
        tab.has("The disk of the folder does not answer", "Try again")
    tab.page.get_by_role("button", name="Try again").click()
    tab.has(str(site.roots))
    expect(tab.page.get_by_role("alert")).to_be_hidden()


def test_limits_and_a_priority_are_changed_on_the_page(site: Site, tab: Tab) -> None:
    site.ask("/api/jobs", {"path": str(site.folder()), "model_id": "m"})
    open_page(tab, site)
    tab.page.get_by_role("link", name="Limits").click()
    bandwidth = tab.page.get_by_label("Bandwidth of each worker")
    expect(bandwidth).to_have_value("off")
    bandwidth.fill("fast")
    bandwidth.press("Enter")
    tab.has("the bandwidth limit cannot be fast")
    bandwidth.fill("Mon-08:00,20MB/s 19:00,off")
    tab.page.get_by_role("button", name="Change them").click()
    tab.has("Changed. Every worker", "chosen by a user")
    assert site.jobs.limits.chosen() == {"bandwidth": "Mon-08:00,20MB/s 19:00,off"}
    expect(tab.page.locator("#facts")).to_contain_text("limits: bandwidth Mon-08:00")
    tab.look("limits")
    tab.page.get_by_role("link", name="All jobs").click()
    tab.page.get_by_role("link", name="m", exact=True).click()
    expect(tab.page.get_by_role("button", name="enqueued").first).to_be_visible()
    tab.page.get_by_label("Priority").fill("7")
    tab.page.get_by_role("button", name="Set").click()
    tab.has("edited: ")
    assert site.jobs.job(1).priority == 7
    refused = [line for line in tab.console if "422" not in line]
    assert refused == []


@contextmanager
def hostile_page(html: str) -> Iterator[str]:
    """A page at another port of this machine: to a browser it is of the same site."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(html.encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


_TRY = """async (target) => {
  const plain = {method: "POST", credentials: "include", mode: "no-cors", body: "{}"};
  const json = {...plain, mode: "cors", headers: {"Content-Type": "application/json"}};
  const told = async (path, options) => {
    try {
      const answer = await fetch(target + path, options);
      return answer.type === "opaque" ? "" : await answer.text();
    } catch { return ""; }
  };
  return [
    await told("/api/jobs/1/pause", json),
    await told("/api/jobs/1/pause", plain),
    await told("/api/jobs", {credentials: "include"}),
    await told("/api/jobs", {credentials: "include", mode: "no-cors"}),
    await new Promise((done) => {
      const stream = new EventSource(target + "/api/events", {withCredentials: true});
      stream.onmessage = (message) => done(message.data);
      stream.onerror = () => done("");
    }),
  ];
}"""


def test_a_hostile_page_of_another_origin_reads_and_changes_nothing(site: Site, tab: Tab) -> None:
    site.ask("/api/jobs", {"path": str(site.folder())})
    open_page(tab, site)
    target = f"http://{site.address}"
    form = f'<form method="post" enctype="text/plain" action="{target}/api/jobs/1/pause">'
    with hostile_page(f'<iframe src="{target}/"></iframe>{form}<button>x</button></form>') as url:
        tab.page.goto(url)
        assert tab.page.evaluate(_TRY, target) == [""] * 5
        assert "uploader" not in tab.page.frames[1].content()
        tab.page.get_by_role("button").click()
        tab.page.wait_for_url(f"{target}/**")
        assert "foreign_origin" in tab.page.content()
    assert site.jobs.job(1).status == "active"


def test_a_name_that_is_rebound_to_this_machine_is_refused(site: Site, tab: Tab) -> None:
    port = site.address.rpartition(":")[2]
    answer = tab.page.goto(f"http://evil.example:{port}/")
    assert answer is not None
    assert (answer.status, answer.json()["code"]) == (403, "foreign_host")
