"""What the OpenAPI document promises, asked by a program that has read only that document."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.service.conftest import Site

pytestmark = pytest.mark.long

_CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
#: It does not end, or waits for what does not come.
_NOT_ASKED = {"/api/events", "/metrics"}


def test_no_request_breaks_it_and_every_answer_is_as_described(site: Site) -> None:
    site.ask("/api/jobs", {"path": str(site.folder()), "model_id": "m"})
    document = site.ask("/api/openapi.json").json
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=f"http://{site.address}")
    headers = {"Authorization": f"Bearer {site.token}"}
    asked = set()
    for found in schema.get_all_operations():
        assert isinstance(found, Ok), found
        operation = found.ok()
        if operation.path in _NOT_ASKED:
            continue
        asked.add(operation.path)

        @settings(
            max_examples=20,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def ask(case: schemathesis.Case[Any]) -> None:
            case.call_and_validate(headers=headers, checks=_CHECKS)

        ask()
    assert len(asked) > 12
