"""A folder that others may fill has as many names as they like: it is never listed whole."""

from __future__ import annotations

import ast
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import pytest

from tests.model.build import BASE, folder
from uploader.core.errors import PreflightRefused, SourceAway
from uploader.core.job import Kind
from uploader.model import folder as model_folder
from uploader.model import meant
from uploader.preflight.registry import findings
from uploader.runtime import StopToken
from uploader.service.http import folders, roots
from uploader.service.http.problems import Refusal
from uploader.service.http.questions import Questions
from uploader.sources.local import LocalFolder

ROOT = Path(__file__).parents[2] / "uploader"
#: What lists a folder, most of it as a whole.
LISTING = {
    *("iterdir", "listdir", "scandir", "glob", "iglob", "rglob", "walk", "fwalk", "rmtree"),
    *("copytree", "cmpfiles", "dircmp", "make_archive"),
}
#: Why each of these is not a folder that others may fill.
OWN = {
    ("files.py", "os.scandir"): "the one home",
    ("demo.py", "folder.iterdir"): "a folder that it made for itself",
    ("demo.py", "model.iterdir"): "a folder that it made for itself",
    ("demo.py", "filecmp.cmpfiles"): "names that are given",
    ("demo.py", "shutil.rmtree"): "a folder that it made for itself",
    ("sandbox/world.py", "shutil.rmtree"): "a folder that it made for itself",
    ("settings/schema.py", "os.scandir"): "the state folder, and all that is private in it",
    ("sources/snapshot.py", "os.scandir"): "the folder of our snapshots",
    ("sources/snapshot.py", "shutil.rmtree"): "a snapshot: only this user may write it",
    ("store/marks.py", "os.scandir"): "the state folder",
    ("store/database/migrate.py", "shutil.rmtree"): "a folder that it made for itself",
    ("store/database/workers.py", "folder.glob"): "the state folder",
    ("store/database/state_folder.py", "place.parent.glob"): "the state folder after a restore",
}
NAMES = 300
#: What is set in the place of every bound.
MOST = 100


class Counted:
    """As `os.scandir`, counting what is taken of it, and whether each list is closed."""

    def __init__(self) -> None:
        self.names = 0
        self.open = 0

    def __call__(self, path: Path | str) -> Self:
        self._entries = _scandir(path)
        self.open += 1
        return self

    def __iter__(self) -> Iterator[os.DirEntry[str]]:
        for entry in self._entries:
            self.names += 1
            yield entry

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *of: object) -> None:
        self._entries.close()
        self.open -= 1


_scandir = os.scandir


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    def whole(path: object = ".") -> list[str]:
        raise AssertionError(path)

    counted = Counted()
    monkeypatch.setattr(os, "scandir", counted)
    monkeypatch.setattr(os, "listdir", whole)
    for module in (model_folder, roots):
        monkeypatch.setattr(module, "MOST_NAMES", MOST)
    monkeypatch.setattr(meant, "_MAX_NAMES", MOST)
    return counted


def full(path: Path) -> Path:
    """A folder of more names than anything here may look at, links to a folder among them."""
    path.mkdir(parents=True)
    for number in range(NAMES):
        (path / f"{number}.incomplete").touch()
    return path


def ask_for_a_folder_that_is_gone(root: Path) -> None:
    with pytest.raises(SourceAway, match="is gone"):
        LocalFolder(full(root / "above") / "model").require()


def ask_for_a_full_folder(root: Path) -> None:
    LocalFolder(full(root / "model")).require()


def scan_it(root: Path) -> None:
    with pytest.raises(PreflightRefused, match="more than"):
        model_folder.scan(full(root / "model"))


def look_for_what_was_meant(root: Path) -> None:
    meant.meant(full(root / "model"))


def check_it_for_the_roots(root: Path) -> None:
    with pytest.raises(Refusal, match="more than"):
        roots.folder_below([root.resolve()], str(full(root / "model").resolve()))


#: Each act, and how many names of a folder it may take.
ACTS: dict[Callable[[Path], None], int] = {
    ask_for_a_folder_that_is_gone: 1,
    ask_for_a_full_folder: 0,
    scan_it: MOST + 1,
    look_for_what_was_meant: MOST,
    check_it_for_the_roots: MOST + 1,
}


@pytest.mark.parametrize("act", ACTS, ids=lambda act: act.__name__)
def test_no_folder_that_others_may_fill_is_listed_whole(
    tmp_path: Path, counted: Counted, act: Callable[[Path], None]
) -> None:
    act(tmp_path)
    assert counted.names <= ACTS[act]
    assert not counted.open


def test_a_full_cache_of_downloads_is_not_listed_whole(
    tmp_path: Path, counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = model_folder.scan(folder(tmp_path, BASE))
    full(tmp_path / ".cache/huggingface/download")
    counted.names = 0
    monkeypatch.setattr("uploader.preflight.checks.files.MOST_NAMES", MOST)
    (found,) = findings(seen, Kind.BASE)
    assert f"{MOST} unfinished downloads" in found.message
    assert (counted.names, counted.open) == (MOST, 0)


def test_the_folders_offered_are_the_first_by_name_of_a_bounded_number(
    tmp_path: Path, counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "_MOST", 3)
    monkeypatch.setattr(folders, "_MOST_NAMES", MOST)
    for number in range(50):
        (tmp_path / f"{number:02}").mkdir()
    assert folders._names(tmp_path) == ["00", "01", "02"]
    full(tmp_path / "full")
    counted.names = 0
    assert folders._names(tmp_path / "full") == []
    assert (counted.names, counted.open) == (MOST, 0)


def around(root: Path) -> Path:
    """A folder with a link that leads around, of which an error is all that the system says."""
    root.mkdir(parents=True)
    (root / "a").symlink_to("a")
    return root


def test_a_link_that_leads_around_does_not_hide_what_was_meant(tmp_path: Path) -> None:
    folder(around(tmp_path / "all") / "model", BASE)
    found = meant.meant(tmp_path / "all")
    assert found
    assert found.path == tmp_path / "all/model"


def test_a_link_to_a_name_that_no_file_can_have_does_not_hide_what_was_meant(
    tmp_path: Path,
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "adapter_config.json").symlink_to("x" * 300)
    found = meant.meant(tmp_path)
    assert found
    assert found.among == "the newest of 2 models"


def test_a_link_that_leads_around_hides_no_other_folder(tmp_path: Path) -> None:
    (around(tmp_path / "all") / "model").mkdir()
    whole = tmp_path.resolve() / "all"
    listed = folders._listed((whole,), str(whole), Questions(), StopToken())
    assert ([one["name"] for one in listed["folders"]], listed["silent"]) == (["model"], [])


def test_every_link_is_found_however_deep_it_is(tmp_path: Path) -> None:
    inner = around(tmp_path / "b/c")
    (inner / "d").mkdir()
    (inner / "d/e").symlink_to("/etc")
    names = {os.path.relpath(link, tmp_path) for link in roots._links(str(tmp_path))}
    assert names == {"b/c/a", "b/c/d/e"}


def test_a_folder_in_which_nothing_can_be_named_is_offered_as_no_model() -> None:
    assert not folders._folder(Path("/" + "x/" * 2040), "x")["model"]


def test_nobody_lists_a_folder_in_another_way() -> None:
    found = set()
    for path in ROOT.rglob("*.py"):
        name = path.relative_to(ROOT).as_posix()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in LISTING:
                found.add((name, ast.unparse(node)))
            elif isinstance(node, ast.ImportFrom):
                found |= {(name, one.name) for one in node.names if one.name in LISTING}
    assert found == {*OWN}
