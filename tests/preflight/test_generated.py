"""Preflight never refuses a valid model, and names the one fault of an invalid one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.model.build import check
from tests.preflight.generated import FAULTS, Fault, Model, models


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("generated") / "model"


def clear(place: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)


@settings(max_examples=150, deadline=None)
@given(model=models())
def test_a_valid_model_has_no_finding(place: Path, model: Model) -> None:
    clear(place)
    assert check(place, model.files()) == []


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.apply.__name__)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(model=models(), draws=st.data())
def test_one_fault_is_named_and_nothing_else(
    place: Path, fault: Fault, model: Model, draws: st.DataObject
) -> None:
    assume(fault.fits(model))
    files = model.files()
    fault.apply(draws.draw, model, files)
    clear(place)
    found = check(place, files)
    refusing = {finding.check for finding in found if finding.severity == "error"}
    assert refusing & fault.named
    assert {finding.check for finding in found} <= fault.named | fault.beside
