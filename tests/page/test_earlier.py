"""What another program answered at this address before our daemon listened there is not used."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.page.conftest import Tab
from tests.service.conftest import Site
from uploader import wiring
from uploader.service.http.door import link_of
from uploader.settings.load import with_listen

pytestmark = [pytest.mark.long, pytest.mark.acceptance]

_TAKEN = "document.documentElement.innerHTML = 'taken';"
_CACHE = """
<script>
  Promise.all(["/app.js", "/index.html"].map((path) => fetch(path)))
    .then(() => document.body.append("kept"));
</script>
"""
_REGISTER = """
<script>
  navigator.serviceWorker.register("/worker.js")
    .then(() => navigator.serviceWorker.ready)
    .then(() => document.body.append("kept"));
</script>
"""
_WORKER = """
addEventListener("install", () => skipWaiting());
addEventListener("activate", (event) => event.waitUntil(clients.claim()));
addEventListener("fetch", (event) => {
  if (new URL(event.request.url).pathname.startsWith("/open/")) return;
  const headers = {"Content-Type": "text/html"};
  if (event.request.mode === "navigate") event.respondWith(new Response("taken", {headers}));
});
"""


@contextmanager
def earlier(address: str, first: str) -> Iterator[None]:
    """Another program at ``address``; its answers but ``first`` are good for a year."""
    answers = {"/": ("text/html", f"<body>{first}"), "/index.html": ("text/html", "taken")}
    script = "text/javascript"
    answers |= {"/app.js": (script, _TAKEN), "/worker.js": (script, _WORKER)}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            kind, text = answers.get(self.path, ("text/plain", ""))
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Cache-Control", "max-age=31536000, immutable")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    host, _, port = address.rpartition(":")
    with ThreadingHTTPServer((host, int(port)), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("first", [_CACHE, _REGISTER], ids=["cache", "service worker"])
def test_the_page_is_ours_whatever_was_at_its_address_before(
    site: Site, tab: Tab, first: str
) -> None:
    address = site.address
    site.stop()
    with earlier(address, first):
        tab.page.goto(f"http://{address}/")
        tab.has("kept")
    site.settings = with_listen(site.settings, address)
    site.start()
    for url in (link_of(site.settings, wiring.clock().now()), f"http://{address}/"):
        tab.page.goto(url)
        seen = tab.page.get_by_text("taken").or_(tab.page.get_by_text("no worker runs")).first
        assert "no worker runs" in seen.inner_text()
