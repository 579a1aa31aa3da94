"""Preflight never refuses a valid adapter, and names the one fault of an invalid one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.model.build import check
from tests.model.weights import Shape, alike
from tests.preflight import adapters
from tests.preflight.adapters import ATTENTION, CONFIG, MLP, WEIGHTS


@dataclass
class Adapter:
    """What PEFT was told, and what it saved."""

    targets: Any
    rank: int
    tensors: dict[str, Shape]
    config: dict[str, Any]

    def files(self) -> dict[str, bytes]:
        config = adapters.config(self.targets, r=self.rank, **self.config)
        return {CONFIG: config, WEIGHTS: alike(self.tensors)}


@st.composite
def valid(draw: st.DrawFn) -> Adapter:
    names = draw(st.lists(st.sampled_from((*ATTENTION, *MLP)), min_size=1, unique=True))
    rank = draw(st.integers(4, 64))
    paths = adapters.paths(*names, layers=draw(st.integers(1, 3)))
    targets = draw(
        st.sampled_from(
            (names, names[::-1], "|".join(names), rf".*\.({'|'.join(names)})$", "all-linear", paths)
        )
    )
    extra = draw(
        st.fixed_dictionaries(
            {"peft_type": st.just("LORA")},
            optional={
                "lora_alpha": st.integers(1, 128),
                "lora_dropout": st.floats(0, 0.5),
                "bias": st.just("none"),
                "modules_to_save": st.none(),
                "task_type": st.just("CAUSAL_LM"),
                "rank_pattern": st.just({}),
            },
        )
    )
    tensors = adapters.lora(paths, rank, draw(st.sampled_from(("", ".default"))))
    return Adapter(targets, rank, tensors, extra)


Draw = Callable[..., Any]


def a_tensor(draw: Draw, adapter: Adapter) -> str:
    name: str = draw(st.sampled_from(sorted(adapter.tensors)))
    return name


def partner_lost(draw: Draw, adapter: Adapter) -> None:
    del adapter.tensors[a_tensor(draw, adapter)]


def rank_beyond(draw: Draw, adapter: Adapter) -> None:
    adapter.rank = draw(st.integers(-1, 3) | st.integers(65, 300))


def rank_of_another(draw: Draw, adapter: Adapter) -> None:
    adapter.rank = 4 + (adapter.rank - 4 + draw(st.integers(1, 60))) % 61


def embedding_named(draw: Draw, adapter: Adapter) -> None:
    adapter.targets = ["q_proj", draw(st.sampled_from(("embed_tokens", "wte")))]


def unknown_named(draw: Draw, adapter: Adapter) -> None:
    adapter.targets = ["q_proj", draw(st.sampled_from(("c_attn", "fc1", "qkv_proj")))]


def other_method(draw: Draw, adapter: Adapter) -> None:
    adapter.config["peft_type"] = draw(st.sampled_from(("IA3", "PREFIX_TUNING", "LOHA")))


def none_left(_draw: Draw, adapter: Adapter) -> None:
    adapter.tensors = {"base_model.model.lm_head.weight": (4, 4)}


FAULTS: dict[str, tuple[Callable[[Draw, Adapter], None], set[str], set[str]]] = {
    "a partner is lost": (partner_lost, {"lora_tensors"}, set()),
    "a rank the service has not": (rank_beyond, {"lora_rank"}, {"lora_tensors"}),
    "the rank of another": (rank_of_another, {"lora_tensors"}, set()),
    "an embedding": (embedding_named, {"lora_targets"}, {"lora_tensors"}),
    "a module not on the list": (unknown_named, {"lora_targets"}, {"lora_tensors"}),
    "another method": (other_method, {"peft_type"}, set()),
    "no LoRA at all": (none_left, {"lora_tensors"}, {"lora_targets"}),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("generated") / "adapter"


@settings(max_examples=100, deadline=None)
@given(adapter=valid())
def test_a_valid_adapter_has_no_finding(place: Path, adapter: Adapter) -> None:
    shutil.rmtree(place, ignore_errors=True)
    assert check(place, adapter.files()) == []


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@settings(max_examples=25, deadline=None)
@given(adapter=valid(), draws=st.data())
def test_one_fault_is_named_and_nothing_else(
    place: Path,
    fault: tuple[Callable[[Draw, Adapter], None], set[str], set[str]],
    adapter: Adapter,
    draws: st.DataObject,
) -> None:
    apply, named, beside = fault
    apply(draws.draw, adapter)
    shutil.rmtree(place, ignore_errors=True)
    found = check(place, adapter.files())
    assert named <= {finding.check for finding in found if finding.severity == "error"}
    assert {finding.check for finding in found} <= named | beside
