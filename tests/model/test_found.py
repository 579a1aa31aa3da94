"""A name that turns into a link between the scan of a folder and the look at what is in it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from uploader import files
from uploader.intake.inspect import inspect_folder
from uploader.intake.request import EnqueueRequest
from uploader.model.folder import Folder, scan
from uploader.model.found import as_found
from uploader.sources.local import LocalFolder

SECRET = (
    '{"architectures": ["Canary"], "model_type": "canary", "base_model_name_or_path": "canary"}'
)
KINDS = {
    "base": {"config.json": '{"architectures": ["LlamaForCausalLM"]}', "tokenizer.json": "{}"},
    "lora": {"adapter_config.json": '{"peft_type": "LORA", "r": 8}'},
    "embedding": {"config.json": "{}", "modules.json": "[]"},
    "signed": {"config.json": "{}", "model.sig": "{}"},
}


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret.json"
    path.write_text(SECRET)
    return path


def folder_of(tmp_path: Path, kind: str) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    for name, content in KINDS[kind].items():
        (folder / name).write_text(content)
    return folder


def turn(folder: Path, target: Path) -> None:
    """Every name in it becomes a link to ``target``."""
    for path in list(folder.iterdir()):
        path.unlink()
        path.symlink_to(target)


@pytest.fixture
def scanned(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """What is called once a folder was scanned, before anything in it is read."""

    def then(act: Callable[[], None]) -> None:
        listing = LocalFolder.list

        def listed(self: LocalFolder, *globs: Any) -> Folder:
            found = listing(self, *globs)
            act()
            return found

        monkeypatch.setattr(LocalFolder, "list", listed)

    return then


@pytest.mark.parametrize("exclude", [(), ("model.sig",)])
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_nothing_is_told_of_a_file_that_a_name_leads_to_since_the_scan(
    tmp_path: Path,
    secret: Path,
    scanned: Callable[[Callable[[], None]], None],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    exclude: tuple[str, ...],
) -> None:
    folder = folder_of(tmp_path, kind)
    scanned(lambda: turn(folder, secret))
    opened: list[str] = []
    real = os.open

    def noted(path: Any, flags: int, *mode: int, **how: Any) -> int:
        descriptor = real(path, flags, *mode, **how)
        if not flags & getattr(os, "O_PATH", 0):
            opened.append(files.place(descriptor))
        return descriptor

    monkeypatch.setattr(os, "open", noted)
    seen = inspect_folder(EnqueueRequest(path=folder, exclude=exclude))
    assert "anary" not in str(seen)
    assert str(secret) not in opened


def test_no_link_out_of_the_folder_is_followed_for_a_hint(tmp_path: Path) -> None:
    """The revision of `main` is looked for in a folder of Hugging Face's cache."""
    entry = tmp_path / "models--a--b"
    for place in ("refs", "snapshots/one", "snapshots/two"):
        (entry / place).mkdir(parents=True)
    for revision in ("one", "two"):
        (entry / "snapshots" / revision / "model.safetensors").write_bytes(b"x")
    (entry / "refs" / "main").write_text("one")
    os.utime(entry / "snapshots" / "one", (1, 1))
    assert "snapshots/one" in str(inspect_folder(EnqueueRequest(path=entry)).findings)
    (entry / "refs" / "main").rename(tmp_path / "outside")
    (entry / "refs" / "main").symlink_to(tmp_path / "outside")
    assert "snapshots/two" in str(inspect_folder(EnqueueRequest(path=entry)).findings)


def test_a_file_that_was_replaced_in_the_folder_is_read(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "base")
    with as_found(scan(folder)):
        (folder / "config.json").unlink()
        (folder / "config.json").write_text("new")
        assert files.read(folder / "config.json", 9)[0] == b"new"
        (folder / "config.json").unlink()
        (folder / "config.json").symlink_to("tokenizer.json")
        assert files.read(folder / "config.json", 9)[0] == b"{}"


def test_a_link_out_of_the_folder_that_was_found_is_followed_to_that_file_alone(
    tmp_path: Path, secret: Path
) -> None:
    folder, agreed = folder_of(tmp_path, "base"), tmp_path / "agreed"
    agreed.write_text("{}")
    for name in ("a.json", "b.json"):
        (folder / name).symlink_to(agreed)
    found = scan(folder)
    (folder / "b.json").unlink()
    (folder / "b.json").symlink_to(secret)
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to(agreed)
    (tmp_path / "elsewhere").write_text("any")
    with as_found(found):
        assert files.read(folder / "a.json", 9)[0] == b"{}"
        assert files.read(tmp_path / "elsewhere", 9)[0] == b"any"
        for name in ("b.json", "config.json"):
            with pytest.raises(OSError, match="turned since the folder was listed"):
                files.read(folder / name, 9)


def test_a_hidden_file_of_the_folder_is_out_of_it(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "base")
    (folder / ".env").write_text("TOKEN=1")
    found = scan(folder)
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to(".env")
    with as_found(found), pytest.raises(OSError, match="turned since"):
        files.read(folder / "config.json", 9)


def test_whoever_looks_for_others_has_both_limits(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "base")
    below = files.only_below([tmp_path / "roots"], LookupError("elsewhere"))
    found = scan(folder)
    with below, as_found(found), pytest.raises(LookupError):
        files.read(folder / "config.json", 9)
