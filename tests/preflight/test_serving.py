"""An adapter that becomes READY and cannot be served: what its base model says of it."""

from __future__ import annotations

from typing import Any, cast

import pytest

from uploader.core.errors import RemoteError
from uploader.core.reasons import Code
from uploader.core.remote_model import RemoteModel
from uploader.core.verdict import Call, Verdict
from uploader.intake.online import ask
from uploader.preflight.serving import lora_serving
from uploader.remote.fireworks import Fireworks

BASE = "accounts/fireworks/models/qwen3-4b"


@pytest.mark.parametrize(
    ("precision", "supports_lora", "words"),
    [
        ("FP8", None, "is deployed in FP8 by default"),
        ("FP8_MM", True, "is deployed in FP8_MM by default"),
        ("NVFP4", True, "is deployed in NVFP4 by default"),
        ("BF16", False, "says supportsLora: false"),
        ("", False, "says supportsLora: false"),
    ],
)
def test_a_base_that_serves_no_adapter_is_warned_of_with_what_works(
    precision: str, supports_lora: bool | None, words: str
) -> None:
    (finding,) = lora_serving(BASE, precision, supports_lora=supports_lora)
    assert (finding.check, finding.severity) == ("lora_serving", "warning")
    assert words in finding.message
    assert "merge the adapter" in finding.hint


@pytest.mark.parametrize("supports_lora", [None, True])
@pytest.mark.parametrize("precision", ["", "BF16", "FP16", "PRECISION_UNSPECIFIED"])
def test_what_is_not_reported_is_fine(precision: str, supports_lora: bool | None) -> None:
    assert [*lora_serving(BASE, precision, supports_lora=supports_lora)] == []


class Service:
    """Knows one account and the models that it is given."""

    def __init__(self, **models: Any) -> None:
        self._models = models

    def account(self) -> str:
        return "acme"

    def get(self, account: str, model_id: str) -> RemoteModel:
        found = self._models.get(f"{account}_{model_id}".replace("-", "_"), Verdict.ABSENT)
        if isinstance(found, Verdict):
            raise RemoteError(found, Call.GET, "the service says no", code=Code.UNAVAILABLE)
        return cast("RemoteModel", found)


def asked(base_model: str | None = BASE, **models: Any) -> list[tuple[str, str]]:
    found = ask(cast("Fireworks", Service(**models)), "acme", "mine", base_model)
    return [(finding.check, finding.severity) for finding in found]


def base(precision: str, lora: bool | None = None) -> RemoteModel:
    return RemoteModel("READY", "", "", "", None, "", precision, supports_lora=lora)


def test_online_asks_for_the_base_of_an_adapter() -> None:
    assert asked(fireworks_qwen3_4b=base("FP8")) == [("lora_serving", "warning")]
    assert asked(fireworks_qwen3_4b=base("BF16", lora=True)) == []


def test_online_does_not_ask_for_a_base_that_nobody_named() -> None:
    assert asked(None, fireworks_qwen3_4b=base("FP8")) == []


def test_a_base_that_is_not_there_is_reported() -> None:
    assert asked() == [("lora_serving", "warning")]


def test_a_service_that_does_not_answer_is_reported_once() -> None:
    assert asked(fireworks_qwen3_4b=Verdict.TRANSIENT) == [("service", "error")]
    assert asked(acme_mine=Verdict.TRANSIENT, fireworks_qwen3_4b=Verdict.TRANSIENT) == [
        ("service", "error")
    ]
    assert asked(fireworks_qwen3_4b=Verdict.BLOCKED) == [("api_key", "error")]
