"""The events of a real `transformers` callback handler; with PyTorch there, a real training."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import uploader
from tests.model.build import BASE, folder

transformers = pytest.importorskip("transformers", reason="a test dependency")


def saved(callback: Any, output: Path, step: int, *, rank: int = 0) -> None:
    """What the Trainer does after it has saved a checkpoint."""
    from transformers.trainer_callback import (  # noqa: PLC0415 - slow to import
        CallbackHandler,
        DefaultFlowCallback,
        TrainerControl,
        TrainerState,
    )

    state = TrainerState(global_step=step, is_world_process_zero=rank == 0)
    make: Any = CallbackHandler  # it has no types
    handler = make([DefaultFlowCallback(), callback], None, None, None, None)
    handler.on_save(SimpleNamespace(output_dir=str(output)), state, TrainerControl())


def callback(**options: Any) -> Any:
    from uploader.callbacks import UploaderCallback  # noqa: PLC0415 - needs transformers

    return UploaderCallback(**options)


@pytest.fixture
def output(home: Path) -> Path:
    folder(home / "my-run" / "checkpoint-5", BASE)
    return home / "my-run"


def test_each_saved_checkpoint_is_a_job_that_outlives_it(output: Path) -> None:
    saved(callback(), output, 5)
    folder(output / "checkpoint-10", BASE)
    saved(callback(), output, 10)
    shutil.rmtree(output / "checkpoint-5")
    jobs = uploader.jobs()
    assert [job.model.rsplit("/", 1)[1] for job in jobs] == [
        "my-run-checkpoint-5",
        "my-run-checkpoint-10",
    ]
    for job in jobs:
        assert job.snapshot
        assert (Path(job.snapshot) / "config.json").exists()


def test_only_the_first_process_enqueues(output: Path) -> None:
    saved(callback(), output, 5, rank=1)
    assert uploader.jobs() == []


def test_the_options_are_those_of_enqueue(output: Path) -> None:
    saved(callback(model_id="run-{step}", snapshot=None, priority=3, description="d"), output, 5)
    (job,) = uploader.jobs()
    assert (job.model, job.priority, job.snapshot) == ("accounts/-/models/run-5", 3, None)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"prioritee": 3}, "prioritee"),
        ({"priority": 5000}, "priority"),
        ({"model_id": "My_{step}"}, "My_0"),
        ({"model_id": "run"}, "same for each checkpoint"),
        ({"allow": "tokenizer"}, "there is no check tokenizer"),
        ({"kind": "flumina"}, "flumina"),
        ({"snapshot": "copy"}, "copy"),
    ],
)
def test_what_could_never_work_is_said_before_the_training(
    options: dict[str, Any], words: str
) -> None:
    with pytest.raises((TypeError, uploader.UsageError), match=words):
        callback(**options)


@pytest.mark.parametrize("damage", ["config", "folder", "settings"])
def test_nothing_ends_the_training(
    output: Path, damage: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    if damage == "config":
        (output / "checkpoint-5" / "config.json").write_text("{")
    elif damage == "folder":
        shutil.rmtree(output)
    else:
        monkeypatch.setenv("UPLOADER_LEASE__DURATION", "never")
    with caplog.at_level(logging.WARNING, "uploader.callbacks"):
        saved(callback(), output, 5)
    (words,) = [one.getMessage() for one in caplog.records if one.name.startswith("uploader.")]
    assert "checkpoint-5 is not enqueued" in words
    assert words.endswith(")")  # the hint


def test_what_no_one_foresaw_does_not_end_it_either(
    output: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    made = callback()
    monkeypatch.setattr("uploader.callbacks.trainer.uploader", SimpleNamespace(enqueue=fail))
    saved(made, output, 5)
    assert "ZeroDivisionError" in caplog.text


def test_without_transformers_it_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['transformers'] = None; import uploader.callbacks\n"
        "try:\n"
        "    from uploader.callbacks import UploaderCallback\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "UploaderCallback needs transformers: pip install transformers\n"


def test_naming_the_module_imports_no_transformers() -> None:
    program = "import sys, uploader.callbacks; print('transformers' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "False\n"


@pytest.mark.long
def test_a_training_that_keeps_one_checkpoint_enqueues_all_of_them(home: Path) -> None:
    """Rotation deletes each checkpoint but the last while nothing has been sent yet."""
    torch = pytest.importorskip("torch", reason="it takes 200 MB, so no developer needs to have it")
    pytest.importorskip("accelerate", reason="as PyTorch")
    config = transformers.LlamaConfig(
        vocab_size=256, hidden_size=64, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2,
    )  # fmt: skip
    arguments = transformers.TrainingArguments(
        output_dir=str(home / "my-run"), max_steps=6, save_steps=2, save_total_limit=1,
        per_device_train_batch_size=1, report_to=[], use_cpu=True, disable_tqdm=True,
    )  # fmt: skip
    rows = [{"input_ids": torch.arange(8), "labels": torch.arange(8)}] * 8
    trainer = transformers.Trainer(
        model=transformers.LlamaForCausalLM(config), args=arguments, train_dataset=rows,
        callbacks=[callback(allow="no_tokenizer")],
    )  # fmt: skip
    trainer.train()
    assert [path.name for path in (home / "my-run").glob("checkpoint-*")] == ["checkpoint-6"]
    jobs = uploader.jobs()
    assert [Path(job.path).name for job in jobs] == ["checkpoint-2", "checkpoint-4", "checkpoint-6"]
    assert all(Path(job.snapshot or "", "model.safetensors").exists() for job in jobs)
