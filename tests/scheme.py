"""The scheme of every server on real sockets that tests start: http, or https with `--tls`."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--tls", action="store_true", help="the tests of real sockets alone, with TLS")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test marked `tls` uses both schemes; its second run is one of the long ones."""
    marked = metafunc.definition.get_closest_marker("tls") is not None
    if marked and not metafunc.config.getoption("tls"):
        over_tls = pytest.param(True, marks=pytest.mark.long, id="tls")
        metafunc.parametrize("secure", [pytest.param(False, id="plain"), over_tls], indirect=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("tls"):
        asking = [item for item in items if "secure" in getattr(item, "fixturenames", ())]
        config.hook.pytest_deselected(items=[item for item in items if item not in asking])
        items[:] = asking


@pytest.fixture
def secure(request: pytest.FixtureRequest) -> bool:
    """Whether this test's servers use TLS."""
    chosen: bool = getattr(request, "param", request.config.getoption("tls"))
    return chosen
