"""What of a folder leaves this machine: no link takes another file along."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest

from uploader.core.redact import ApiKey, remember
from uploader.model import folder as folders
from uploader.model.fingerprint import is_linked
from uploader.model.folder import scan
from uploader.model.links import Private, leads_outside, open_below, tells_a_key
from uploader.model.reading import Allowance
from uploader.model.safetensors import has_sound_header

HEADER = b'{"t":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}}'
WEIGHTS = len(HEADER).to_bytes(8, "little") + HEADER + bytes(8)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    return folder


def findings(folder: Path, **words: object) -> dict[str, str]:
    return {f.check: f.severity for f in scan(folder, **words).findings}  # type: ignore[arg-type]


def test_a_link_out_of_the_folder_is_refused(model: Path, outside: Path) -> None:
    (outside / "auth.ini").write_text("api_key = fw_x")
    (model / "tokenizer.model").symlink_to(outside / "auth.ini")
    assert findings(model) == {"outside_link": "error"}


def slow_links(folder: Path, count: int) -> str:
    """The first of so many links, of hundreds of parts each, that end at `real.txt`."""
    (folder / "d").mkdir()
    (folder / "real.txt").write_text("real")
    for number in range(count):
        following = f"l{number + 1}" if number + 1 < count else "real.txt"
        (folder / f"l{number}").symlink_to("d/../" * 200 + following)
    return "l0"


@pytest.mark.parametrize("count", [30, 1200])
def test_links_that_are_slow_to_follow_are_followed_by_the_system_alone(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """Forty at most; a program that follows them itself takes minutes for each name."""
    (tmp_path / "links").mkdir()
    (model / "config.json").symlink_to(tmp_path / "links" / slow_links(tmp_path / "links", count))
    calls: list[object] = []
    for name in ("lstat", "readlink"):
        real = getattr(os, name)

        def counted(*given: object, _real: Callable[..., object] = real, **named: object) -> object:
            calls.append(given)
            return _real(*given, **named)

        monkeypatch.setattr(os, name, counted)
    assert findings(model) == {"outside_link" if count < 40 else "dangling_link": "error"}
    assert len(calls) < 50


def test_many_links_to_one_file_elsewhere_are_looked_at_once(
    model: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []

    def look(file: BinaryIO, allowance: Allowance) -> bool:
        looked.append(os.fstat(file.fileno()).st_ino)
        return has_sound_header(file, allowance)

    monkeypatch.setattr(folders, "has_sound_header", look)
    (outside / "weights").write_bytes(WEIGHTS)
    (outside / "again").hardlink_to(outside / "weights")
    (outside / "secret").write_text("s")
    for number in range(9):
        (model / f"a{number}.safetensors").symlink_to(outside / "weights")
        (model / f"b{number}.safetensors").symlink_to(outside / "again")
        (model / f"c{number}.safetensors").symlink_to(outside / "secret")
    found = [(f.file[0], f.severity) for f in scan(model).findings if f.file]
    expected = [("a", "warning"), ("b", "warning"), ("c", "error")]
    assert sorted(found) == sorted(expected * 9)
    assert len(looked) == len(set(looked)) == 2


@pytest.mark.parametrize("how", ["relative", "chain", "by a folder", "dots"])
def test_however_it_gets_there(model: Path, outside: Path, how: str) -> None:
    (outside / "secret").write_text("s")
    link = model / "tokenizer.model"
    match how:
        case "relative":
            link.symlink_to("../elsewhere/secret")
        case "chain":
            (model / "a.txt").symlink_to(outside / "secret")
            link.symlink_to("a.txt")
        case "by a folder":
            (model / "sub").symlink_to(outside)
            link.symlink_to("sub/secret")
        case "dots":
            link.symlink_to(f"../{model.name}/../elsewhere/secret")
    assert leads_outside(model, link.name) == outside / "secret"
    assert findings(model)["outside_link"] == "error"


def test_a_link_inside_the_folder_is_followed(model: Path) -> None:
    (model / "a.txt").write_text("a")
    (model / "b.txt").symlink_to("a.txt")
    assert findings(model) == {}
    assert [is_linked(file.fingerprint) for file in scan(model).manifest.files] == [False, False]


@pytest.mark.parametrize(
    "place",
    [
        *(".env", ".git/config", ".git/annex", ".cache/huggingface/token", "sub/.netrc"),
        *(".dvc/config.local", "sub/.dvc/cache/files/md5/x"),
        *("optimizer.pt", "kaggle.json", "sub/.git/annex/objects/x", "sub/id_rsa"),
    ],
)
def test_a_link_to_what_is_not_sent_by_itself_is_refused(model: Path, place: str) -> None:
    """A clone may have its user's token in it, and a link in a repository leads there."""
    (model / place).parent.mkdir(parents=True, exist_ok=True)
    (model / place).write_text("hf_token")
    link = model / "merges.txt"
    link.symlink_to(place)
    assert leads_outside(model, link.name) == model / place
    seen = scan(model)
    found = [finding for finding in seen.findings if finding.check == "outside_link"]
    assert [(finding.severity, finding.file) for finding in found] == [("error", "merges.txt")]
    assert f"a link to {place}, which is left out itself" in found[0].message


@pytest.mark.parametrize(
    "place",
    [
        *("original/a.json", ".git/annex/objects/Xz/9k/MD5E-s1--7/M.json"),
        *(".dvc/cache/files/md5/99/914b932bd37a50b983c5e7c90ae93b", ".dvc/cache/99/914b93"),
    ],
)
def test_a_link_into_a_folder_of_the_model_or_of_its_annex_is_followed(
    model: Path, place: str
) -> None:
    (model / place).parent.mkdir(parents=True)
    (model / place).write_text("{}")
    (model / "generation_config.json").symlink_to(place)
    assert findings(model) == {}
    assert not any(is_linked(file.fingerprint) for file in scan(model).manifest.files)


def test_the_cache_of_the_hub_is_made_of_links(tmp_path: Path) -> None:
    snapshot = tmp_path / "models--org--name/snapshots/abc"
    blobs = tmp_path / "models--org--name/blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    (blobs / "1234").write_text("{}")
    (snapshot / "config.json").symlink_to("../../blobs/1234")
    assert findings(snapshot) == {}
    (snapshot / "tokenizer.json").symlink_to("../../../other")
    (tmp_path / "other").write_text("{}")
    assert findings(snapshot) == {"outside_link": "error"}


def test_other_blobs_are_no_part_of_a_cache(tmp_path: Path) -> None:
    folder, blobs = tmp_path / "backups/snapshots/model", tmp_path / "backups/blobs"
    folder.mkdir(parents=True)
    blobs.mkdir()
    (blobs / "id_rsa").write_text("-----BEGIN")
    (folder / "notes.txt").symlink_to("../../blobs/id_rsa")
    assert findings(folder) == {"outside_link": "error"}


def test_a_folder_of_links_to_weights_is_reported_and_not_refused(
    model: Path, outside: Path
) -> None:
    (outside / "w").write_bytes(WEIGHTS)
    (model / "model.safetensors").symlink_to(outside / "w")
    assert findings(model) == {"outside_link": "warning"}
    assert [is_linked(file.fingerprint) for file in scan(model).manifest.files] == [True]


def test_a_name_alone_makes_no_weights(model: Path, outside: Path) -> None:
    (outside / "id_rsa").write_text("-----BEGIN")
    (model / "model.safetensors").symlink_to(outside / "id_rsa")
    assert findings(model) == {"outside_link": "error"}


@pytest.mark.parametrize("how", ["itself", "link", "hard link"])
def test_a_private_file_is_refused_whatever_it_is_called(
    model: Path, outside: Path, how: str
) -> None:
    key = (model if how == "itself" else outside) / "key"
    key.write_text("fw_x")
    disguise = model / "model.safetensors"
    if how == "link":
        disguise.symlink_to(key)
    elif how == "hard link":
        os.link(key, disguise)
    seen = scan(model, (), (), Private((key, outside / "absent")))
    assert {f.check for f in seen.findings} == {"secret_file"}
    assert not seen.manifest.files


def test_a_link_that_turns_while_it_is_looked_at_was_never_agreed_to(
    model: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (model / "a.txt").write_text("a")
    (outside / "secret").write_text("s")
    link = model / "b.txt"
    link.symlink_to("a.txt")

    def turned(root: Path, name: str) -> Path | None:
        found = leads_outside(root, name)
        if name == link.name:
            link.unlink()
            link.symlink_to(outside / "secret")
        return found

    monkeypatch.setattr(folders, "leads_outside", turned)
    assert not any(is_linked(file.fingerprint) for file in scan(model).manifest.files)


def test_only_the_file_that_is_open_proves_that_it_is_weights(
    model: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (outside / "w").write_bytes(WEIGHTS)
    (outside / "secret").write_text("s")
    link = model / "model.safetensors"
    link.symlink_to(outside / "secret")

    def turned(file: BinaryIO, allowance: Allowance) -> bool:
        link.unlink()
        link.symlink_to(outside / "w")
        return has_sound_header(file, allowance)

    monkeypatch.setattr(folders, "has_sound_header", turned)
    assert findings(model) == {"outside_link": "error"}


def test_no_more_headers_of_links_out_of_the_folder_are_read_than_any_model_has(
    model: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of a hundred megabytes, in files that take no room, costs a third of a second."""
    monkeypatch.setattr(folders, "_LINKED_HEADERS_BYTES", 3 * len(WEIGHTS))
    for number in range(9):
        (outside / f"{number}").write_bytes(WEIGHTS)
        (model / f"{number}.safetensors").symlink_to(outside / f"{number}")
    found = [finding.severity for finding in scan(model).findings]
    assert 3 <= found.count("warning") < 9
    assert found.count("error") == 9 - found.count("warning")


@pytest.mark.parametrize("turned", ["a", "a/b", "a/b/c"])
def test_what_became_a_link_on_the_way_is_not_followed(
    model: Path, outside: Path, turned: str
) -> None:
    (model / "a/b").mkdir(parents=True)
    (model / "a/b/c").write_text("c")
    target = model / "a/b/c"
    os.close(open_below(model, target))
    (model / turned).rename(outside / "moved")
    (model / turned).symlink_to(outside / "moved")
    with pytest.raises(OSError):  # noqa: PT011 - ELOOP or ENOTDIR, as the system likes
        open_below(model, target)


def test_a_private_file_is_refused_before_it_is_read(
    model: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = outside / "key"
    key.write_text("fw_x")
    (model / "model.safetensors").symlink_to(key)
    monkeypatch.delattr(folders, "has_sound_header")
    seen = scan(model, (), (), Private((key,)))
    assert {f.check for f in seen.findings} == {"secret_file"}


KEY = "fw_canary0123456789"


@pytest.mark.parametrize(
    "text", [KEY, f"\n{KEY}\n", f'{{"api_key": "{KEY}"}}', "\0" * 60_000 + KEY]
)
def test_a_small_file_that_holds_a_known_key_is_refused(model: Path, text: str) -> None:
    (model / "notes.txt").write_text(text)
    assert findings(model) == {}  # nobody knows of it yet
    remember(ApiKey(KEY))
    assert findings(model) == {"secret_file": "error"}
    (model / "notes.txt").write_text(text.replace(KEY, "fw_another456789012"))
    assert findings(model) == {}


def test_only_a_small_file_is_searched_for_a_key_and_only_if_there_is_one(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (model / "notes.txt").write_text("n")
    (model / "tokenizer.json").write_text("t" * 65_537)
    monkeypatch.delattr(os, "pread")
    assert findings(model) == {}
    remember(ApiKey(KEY))
    (model / "notes.txt").unlink()
    assert findings(model) == {}


def test_a_file_that_is_read_by_pieces_is_searched_whole(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remember(ApiKey(KEY))
    (model / "notes.txt").write_text(f"the key is {KEY}")
    read = os.pread
    monkeypatch.setattr(os, "pread", lambda file, most, at: read(file, min(most, 5), at))
    assert findings(model) == {"secret_file": "error"}


def test_a_file_that_cannot_be_read_holds_no_key(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: int) -> bytes:
        raise OSError(5, "Input/output error")

    remember(ApiKey(KEY))
    (model / "notes.txt").write_text(KEY)
    monkeypatch.setattr(os, "pread", broken)
    with (model / "notes.txt").open() as file:
        assert not tells_a_key(file.fileno())
