"""A file of a model folder may be anything once it is opened: nothing waits for it."""

from __future__ import annotations

import ast
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.model.build import BASE, LORA, SHARDED, folder, safetensors, zipped
from tests.preflight.test_check_signature import signed
from uploader.core.errors import JobError
from uploader.core.job import FileState, Kind
from uploader.model import meant
from uploader.model.folder import Folder, scan
from uploader.model.kinds import detect_kind
from uploader.preflight.registry import findings
from uploader.runtime import StopToken
from uploader.sources.digest import digest
from uploader.sources.local import LocalFolder, opened

ROOT = Path(__file__).parents[2]
#: Whatever may be given a file of a model folder.
ROOMS = ("model", "preflight", "sources", "intake", "engine", "api", "callbacks")
#: What opens a file by its name, or may do so.
_OPENING = {
    *("open", "open_code", "fdopen", "mmap", "memmap", "fromfile", "loadtxt", "genfromtxt"),
    *("read_text", "read_bytes", "read_array", "safe_open", "load_file", "FileIO", "ZipFile"),
    *("TarFile", "GzipFile", "copy", "copy2", "copyfile", "copytree", "sendfile", "file_digest"),
}
#: Why each of these does not open what a name leads to by the time it is opened.
_ALLOWED = {
    ("model/reading.py", "read_object", "read_text"): "by `files`",
    ("model/index.py", "read_index", "read_text"): "by `files`",
    ("model/safetensors.py", "_read", "safe_open"): "of what is open",
    ("model/memory_file.py", "_in_memory", "os.fdopen"): "a file in memory",
    ("model/pickled.py", "_check_zip", "ZipFile"): "of what is open",
    ("sources/local.py", "_is_sound", "os.fdopen"): "a descriptor",
    ("sources/snapshot.py", "_content", "os.fdopen"): "a descriptor",
    ("sources/snapshot.py", "_copied", "target.open"): "makes a new file, with O_EXCL",
    ("sources/snapshot.py", "_seen", "seen.open"): "our own folder",
    ("sources/snapshot.py", "_note", "new.open"): "makes a new file in our own folder, with O_EXCL",
    ("sources/snapshot.py", "_flush", "os.open"): "our own folder, with O_DIRECTORY",
    ("sources/reader.py", "open_source", "source.open"): "the contract of a source",
    ("intake/kept.py", "_if_unchanged", "source.open"): "the contract of a source",
    ("sources/sha256.py", "fork", "self._hash.copy"): "of a hash",
}
AT_ONCE_S = 20.0


def ends(act: Callable[[], object]) -> None:
    """It ends, whatever it says: on a thread, so that a test that fails also ends."""
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    thread.join(AT_ONCE_S)
    assert not thread.is_alive()


def openings(path: Path) -> Iterator[tuple[str, str, str]]:
    """Each call in that file that may open a file: where it is, and what is called."""
    name = str(path.relative_to(ROOT / "uploader"))
    functions = [
        one
        for one in ast.walk(ast.parse(path.read_text()))
        if isinstance(one, ast.FunctionDef | ast.Module)
    ]
    seen: dict[ast.Call, str] = {}
    for function in functions:  # the innermost comes last
        inner = getattr(function, "name", "")
        seen |= {one: inner for one in ast.walk(function) if isinstance(one, ast.Call)}
    for call, inner in seen.items():
        called = ast.unparse(call.func)
        if called.rpartition(".")[2] in _OPENING:
            yield name, inner, called


def test_no_file_of_a_model_folder_is_opened_in_another_way() -> None:
    """`files` opens without waiting, and looks at what is open; a name is opened only once."""
    paths = [path for room in ROOMS for path in (ROOT / "uploader" / room).rglob("*.py")]
    assert {one for path in paths for one in openings(path)} == {*_ALLOWED}


def swapped(seen: Folder) -> None:
    """Whoever may write into the folder puts a pipe in the place of every file."""
    for path in list(seen.root.iterdir()):
        path.unlink()
        os.mkfifo(path)


FOLDERS = {
    "base": signed({**BASE, "modules.json": b"[]", "big.json": b"{" + b" " * 4_000_001 + b"}"}),
    "sharded": SHARDED,
    "adapter": LORA,
    "pickled": {**BASE, "pytorch_model.bin": zipped({"a": 8}), "small.txt": b"version"},
}


@pytest.mark.parametrize("name", FOLDERS)
def test_no_check_waits_for_a_pipe_in_the_place_of_a_file(tmp_path: Path, name: str) -> None:
    seen = scan(folder(tmp_path, FOLDERS[name]), include=["*"])
    swapped(seen)

    def act() -> None:
        detect_kind(seen)
        findings(seen, Kind.LORA if name == "adapter" else Kind.BASE)

    ends(act)


def test_no_list_waits_for_a_pipe_that_was_a_file_when_it_was_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder(tmp_path, BASE)
    facts = (tmp_path / "config.json").stat()
    swapped(scan(tmp_path))
    stat = Path.stat

    def earlier(path: Path, **follow: bool) -> os.stat_result:
        return facts if path.name in BASE else stat(path, **follow)

    monkeypatch.setattr(Path, "stat", earlier)
    found: list[str] = []
    ends(lambda: found.extend(one.check for one in scan(tmp_path).findings))
    assert set(found) == {"special_file"}


def test_no_signature_is_waited_for(tmp_path: Path) -> None:
    """It is not sent, so nobody has looked at what it is."""
    folder(tmp_path, BASE)
    os.mkfifo(tmp_path / "model.sig")
    ends(lambda: findings(scan(tmp_path), Kind.BASE))


def test_a_name_that_becomes_a_pipe_once_it_is_open_stops_no_transfer(tmp_path: Path) -> None:
    path = folder(tmp_path, {"m.safetensors": safetensors({"a": 8})}) / "m.safetensors"
    file = FileState(1, path.name, path.stat().st_size, "local:0:1:0")
    with_it: list[bool] = []
    source = LocalFolder(tmp_path).open(file, StopToken())
    path.unlink()
    os.mkfifo(path)
    ends(lambda: with_it.append(source.is_sound()))
    source.close()
    assert with_it == [True]  # it is about what is open


@pytest.mark.parametrize("read", [opened, digest], ids=["a transfer", "a receipt"])
def test_a_pipe_is_not_the_file_that_was_enqueued(
    tmp_path: Path, read: Callable[..., object]
) -> None:
    os.mkfifo(tmp_path / "f")
    file = FileState(1, "f", 0, "local:1:1")
    words = (tmp_path, file) if read is opened else (tmp_path / "f", lambda _: None, 0)
    said: list[str] = []

    def act() -> None:
        try:
            read(*words)
        except JobError as error:
            said.append(error.message)
        except OSError as error:
            said.append(str(error.strerror))

    ends(act)
    assert said


def test_the_main_of_a_cache_may_be_a_pipe(tmp_path: Path) -> None:
    newest = folder(tmp_path / "snapshots" / "abc", BASE)
    folder(tmp_path / "refs", {})
    os.mkfifo(tmp_path / "refs" / "main")
    found: list[meant.Meant | None] = []
    ends(lambda: found.append(meant.meant(tmp_path)))
    assert found
    assert found[0]
    assert found[0].path == newest


def test_many_links_to_one_large_folder_are_not_all_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meant, "_MAX_NAMES", 1000)
    folder(tmp_path / "big", {f"{number}.txt": b"" for number in range(100)})
    folder(tmp_path / "checkpoint-1", LORA)
    for number in range(200):
        (tmp_path / f"l{number}").symlink_to("big")
    listed: list[Path] = []
    scandir = os.scandir

    def counted(path: Path) -> object:
        listed.append(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", counted)
    found = meant.meant(tmp_path)
    assert found
    assert found.path == tmp_path / "checkpoint-1"
    assert found.among.endswith("not all of whose names were looked at")
    assert len(listed) < 40


def test_a_folder_that_holds_too_much_does_not_hide_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meant, "_MAX_NAMES", 1000)
    folder(tmp_path / "a", {f"{number}.txt": b"" for number in range(1000)})
    folder(tmp_path / "checkpoint-1", LORA)
    found = meant.meant(tmp_path)
    assert found
    assert found.path == tmp_path / "checkpoint-1"
