"""A real upload has a receipt that others read and sign without changing it."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.conftest import MIB, World

pytestmark = [pytest.mark.acceptance, pytest.mark.long]
DOCS = Path(__file__).parents[2] / "docs" / "receipts.md"


def uploaded(world: World) -> Path:
    root = world.model("my-model", model_bin=MIB)
    world.uploader("upload", root, "--allow", "no_weights")
    return root


def test_the_commands_of_the_page_prove_an_upload(world: World) -> None:
    uploaded(world)
    first = re.search(r"```sh\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert first is not None
    lines = first[1].splitlines()
    assert len(lines) == 5
    for line in lines:
        words = re.sub(r"\buploader\b", shlex.join(world.program), line, count=1)
        subprocess.run(words, shell=True, cwd=world.folder, env=world.environment, check=True)
    with (world.folder / "my-model" / "model.bin").open("ab") as file:
        file.write(b"x")
    assert "model.bin" in world.uploader("verify", "my-model", expect=12).stdout


def test_a_receipt_names_what_the_service_has_and_the_model_is_asked(world: World) -> None:
    root = uploaded(world)
    receipt = json.loads(world.uploader("receipt", "1").stdout)
    digests = {one["name"]: one["digest"]["sha256"] for one in receipt["subject"]}
    assert digests == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in root.iterdir()
    }
    generations = {
        str(one.stored.generation) for one in world.box.world.objects.values() if one.stored
    }
    assert {file["generation"] for file in receipt["predicate"]["files"]} == generations
    assert all(file["verified"] for file in receipt["predicate"]["files"])
    kept = world.folder / "receipt.json"
    kept.write_text(json.dumps(receipt))
    world.uploader("verify", kept, "--online")
    world.box.world.models.clear()
    gone = world.uploader("verify", kept, "--online", "--json", expect=12)
    (found,) = json.loads(gone.stdout)["differences"]
    assert (found["path"], found["what"]) == (None, "model")


def test_model_signing_signs_a_receipt_by_the_lines_of_the_page(
    world: World, tmp_path: Path
) -> None:
    pytest.importorskip("model_signing", exc_type=ImportError)
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the key")
    uploaded(world)
    receipt = tmp_path / "receipt.json"
    receipt.write_text(world.uploader("receipt", "1").stdout)
    before = receipt.read_bytes()
    lines = re.findall(r"^(?:openssl|model_signing) .*$", DOCS.read_text(), re.MULTILINE)
    assert len(lines) == 4
    for line in lines:
        assert run(line, tmp_path) == 0
    assert receipt.read_bytes() == before
    receipt.write_bytes(before.replace(b"READY", b"ready") + b" ")
    assert run(lines[-1], tmp_path) != 0


def run(line: str, folder: Path) -> int:
    words = line.replace("model_signing", f"{sys.executable} -m model_signing", 1).split()
    return subprocess.run(words, cwd=folder, check=False, capture_output=True).returncode
