"""A PostgreSQL that keeps its connections and says nothing holds up no request for long."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.postgresql import Cluster
from tests.service.conftest import Site
from tests.soak.proxy import Proxy, before
from uploader.service.http import server

_DEADLINE_S = 60.0


@pytest.fixture
def table(postgresql: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """The way to the job table of `site`, which can be held up."""
    monkeypatch.setattr(server, "ANSWERS_S", 3.0)
    with postgresql.database() as name, before(postgresql.url(name)) as (proxy, url):
        monkeypatch.setenv("UPLOADER_DATABASE_URL", f"{url}?connect_timeout=2")
        yield proxy


def test_every_request_is_answered_and_the_api_is_back_with_the_table(
    table: Proxy, site: Site
) -> None:
    """There are more requests than connections."""
    folder = {"path": str(site.folder())}
    paths = ["/api/jobs"] * 10 + ["/readyz"] * 2 + ["/api/events?wait=0"] * 10
    assert site.ask("/api/jobs").status == 200
    table.flowing.clear()
    try:
        with ThreadPoolExecutor(len(paths) + 1) as pool:
            asked = [pool.submit(site.ask, path) for path in paths]
            looked = pool.submit(site.ask, "/api/preflight", folder)
            assert site.ask("/livez").status == 200
            assert {one.result(_DEADLINE_S).status for one in asked} == {503}
            assert looked.result(_DEADLINE_S).status == 503
    finally:
        table.flowing.set()
    assert {site.ask(path).status for path in paths} == {200}
    assert site.ask("/api/preflight", folder).status == 200
