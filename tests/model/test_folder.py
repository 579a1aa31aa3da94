from __future__ import annotations

import fnmatch
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.model.build import BASE, INDEX, SHARDED, SHARDS, cache_snapshot, folder
from uploader.core.errors import NotFound, PreflightRefused, UsageError
from uploader.model import folder as folder_module
from uploader.model.finding import Finding
from uploader.model.fingerprint import fingerprint_of, same
from uploader.model.folder import Folder, scan


def reasons(found: Folder) -> dict[str, str]:
    return {left.path: left.why for left in found.left_out}


def the_finding(found: Folder) -> Finding:
    (finding,) = found.findings
    assert finding.message
    assert finding.hint
    return finding


def test_a_manifest_is_what_stat_says_in_the_order_of_sending(tmp_path: Path) -> None:
    found = scan(folder(tmp_path, {**SHARDED, "chat_template.jinja": b"x"}))
    assert found.names == (
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        INDEX,
        "README.md",
        "chat_template.jinja",
        *SHARDS,
    )
    assert found.manifest.root == os.path.realpath(tmp_path)
    for file in found.manifest.files:
        stat = (tmp_path / file.path).stat()
        assert (file.size_bytes, file.fingerprint) == (stat.st_size, fingerprint_of(stat))
    assert found.manifest.same is same
    assert (found.left_out, found.findings) == ((), ())


def test_a_cache_snapshot_is_followed_into_its_blobs(tmp_path: Path) -> None:
    snapshot = cache_snapshot(tmp_path, BASE)
    found = scan(snapshot)
    assert set(found.names) == set(BASE)
    assert found.manifest.size_bytes == sum(map(len, BASE.values()))
    assert found.findings == ()


def test_the_root_is_a_real_path(tmp_path: Path) -> None:
    folder(tmp_path / "real", BASE)
    (tmp_path / "link").symlink_to("real")
    assert scan(tmp_path / "link") == scan(tmp_path / "real")


LEFT_OUT = [
    (".gitattributes", "belongs to git"),
    (".DS_Store", "hidden"),
    ("optimizer.pt", "a leftover of training"),
    ("optimizer.bin", "a leftover of training"),
    ("scheduler.pt", "a leftover of training"),
    ("scaler.pt", "a leftover of training"),
    ("trainer_state.json", "a leftover of training"),
    ("training_args.bin", "a leftover of training"),
    ("rng_state.pth", "a leftover of training"),
    ("rng_state_0.pth", "a leftover of training"),
    ("model.safetensors.lock", "a leftover of a download"),
    ("config.json.metadata", "a leftover of a download"),
    *(
        (name, "left by a system, an editor or a sync tool")
        for name in (
            *("desktop.ini", "Thumbs.db", "config.json~", "model.safetensors:Zone.Identifier"),
            *("tokenizer.sync-conflict-20261101-1.json", "tokenizer.json.bak", "a.swp", "~$a.docx"),
            *("config (conflicted copy).json", "modeling.pyc", "config.json.orig"),
        )
    ),
    *(
        (name, "output of a program that ran here")
        for name in ("nohup.out", "slurm-123.out", "train.log", "core.4711")
    ),
    ("model.Q4_K_M.gguf", "weights in a format Fireworks does not read"),
    ("model.onnx", "weights in a format Fireworks does not read"),
    ("consolidated.00.pth", "weights in a format Fireworks does not read"),
]


@pytest.mark.parametrize(("name", "why"), LEFT_OUT)
def test_leftovers_stay_with_a_line_and_can_be_readmitted(
    tmp_path: Path, name: str, why: str
) -> None:
    folder(tmp_path, {**BASE, name: b"x"})
    found = scan(tmp_path)
    assert reasons(found) == {name: why}
    assert name not in found.names
    assert name in scan(tmp_path, include=[name]).names


@pytest.mark.parametrize("name", [".cache", ".git", "original", "onnx"])
def test_subfolders_stay(tmp_path: Path, name: str) -> None:
    folder(tmp_path / name, {"config.json": b"{}"})
    folder(tmp_path, BASE)
    assert set(reasons(scan(tmp_path))) == {name}
    readmitted = scan(tmp_path, include=[name, f"{name}/*"])
    assert reasons(readmitted) == {name: "a folder: only top-level files are sent"}
    assert [finding.check for finding in readmitted.findings] == ["unmatched_pattern"]


def test_exclude_wins_over_include(tmp_path: Path) -> None:
    folder(tmp_path, {**BASE, "a.gguf": b"x"})
    found = scan(tmp_path, include=["*.gguf"], exclude=["README*", "a.*"])
    assert reasons(found) == {"README.md": "`exclude`", "a.gguf": "`exclude`"}


def test_a_glob_that_matches_nothing_is_a_likely_typo(tmp_path: Path) -> None:
    finding = the_finding(scan(folder(tmp_path, BASE), exclude=["*.ggfu"]))
    assert (finding.check, finding.severity, finding.file) == ("unmatched_pattern", "warning", None)
    assert "*.ggfu" in finding.message


def test_an_unneeded_empty_file_stays_and_a_needed_one_is_kept_for_preflight(
    tmp_path: Path,
) -> None:
    found = scan(folder(tmp_path, {**BASE, "NOTICE": b"", "tokenizer.model": b""}))
    assert reasons(found) == {"NOTICE": "empty"}
    assert "tokenizer.model" in found.names


def test_a_dangling_link_is_an_error_and_counts_as_present(tmp_path: Path) -> None:
    snapshot = cache_snapshot(tmp_path, BASE)
    (snapshot / "model.safetensors").resolve().unlink()
    found = scan(snapshot)
    finding = the_finding(found)
    assert (finding.check, finding.severity) == ("dangling_link", "error")
    assert "model.safetensors" in found.present - set(found.names)


def test_a_link_that_leads_to_itself(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    assert the_finding(scan(tmp_path)).check == "dangling_link"


@pytest.mark.parametrize("name", [".hidden", "optimizer.pt"])
def test_a_dangling_link_that_is_not_wanted_does_not_matter(tmp_path: Path, name: str) -> None:
    (folder(tmp_path, BASE) / name).symlink_to("nowhere")
    assert scan(tmp_path).findings == ()


@pytest.mark.parametrize(
    ("name", "severity"), [("notes", "warning"), ("model.safetensors", "error")]
)
def test_pipes_and_sockets_are_never_opened(
    tmp_path: Path, name: str, severity: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo(name)
    finding = the_finding(scan(tmp_path, include=["*"]))
    assert (finding.check, finding.severity, finding.file) == ("special_file", severity, name)
    (tmp_path / name).unlink()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(name)
        assert the_finding(scan(tmp_path)) == finding


def test_a_device_behind_a_link(tmp_path: Path) -> None:
    (tmp_path / "config.json").symlink_to("/dev/null")
    assert the_finding(scan(tmp_path)).check == "special_file"


@pytest.mark.parametrize(("name", "severity"), [("config.json", "error"), ("notes", "warning")])
def test_an_unreadable_file_refuses_if_it_is_needed(
    tmp_path: Path, name: str, severity: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def denied(path: Any, *how: Any, **more: Any) -> int:
        if Path(path).name == name:
            raise PermissionError(13, "Permission denied")
        return real(path, *how, **more)

    folder(tmp_path, {name: b"{}"})
    monkeypatch.setattr(os, "open", denied)
    finding = the_finding(scan(tmp_path))
    assert (finding.check, finding.severity) == ("unreadable_file", severity)
    assert "Permission denied" in finding.message


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"a\\b.json", "a\\b.json"),
        (b"a\nb.json", "a\\nb.json"),
        (b"a\x7f.json", "a\\x7f.json"),
        (b"caf\xe9.json", "caf\\udce9.json"),
        ("a\u2028b.json".encode(), "a\\u2028b.json"),
    ],
)
def test_a_name_that_cannot_travel_refuses_weights_and_warns_of_what_nobody_needs(
    tmp_path: Path, name: bytes, shown: str
) -> None:
    folder(tmp_path, BASE)
    for suffix, severity in ((b"", "warning"), (b".safetensors", "error")):
        path = Path(os.fsdecode(bytes(tmp_path) + b"/" + name + suffix))
        path.write_bytes(b"x")
        finding = the_finding(scan(tmp_path))
        file = shown + suffix.decode()
        assert (finding.check, finding.severity, finding.file) == (
            "unsendable_name",
            severity,
            file,
        )
        assert file in finding.message
        path.unlink()


@pytest.mark.parametrize("name", ["a b.json", "%41?#&.json", "模型.json", "café.json", "a👩‍🚀.txt"])
def test_a_name_that_can(tmp_path: Path, name: str) -> None:
    folder(tmp_path, {name: b"x"})
    assert scan(tmp_path).names == (name,)


@pytest.mark.parametrize("name", ["missing", "file/below", "loop"])
def test_a_path_that_leads_nowhere(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(NotFound) as caught:
        scan(tmp_path / name)
    assert caught.value.exit_code == 4
    assert caught.value.hint


def test_a_file_in_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"x")
    with pytest.raises(UsageError, match="is not a folder") as caught:
        scan(tmp_path / "model.gguf")
    assert str(tmp_path) in caught.value.hint


def test_a_path_that_is_not_utf8(tmp_path: Path) -> None:
    path = Path(os.fsdecode(bytes(tmp_path) + b"/\xff"))
    path.mkdir()
    with pytest.raises(UsageError, match="UTF-8") as caught:
        scan(path)
    caught.value.message.encode()


def test_a_folder_that_cannot_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(PreflightRefused, match="cannot be listed: Permission denied"):
        scan(tmp_path)


def test_a_folder_of_too_many_names_is_refused_before_anything_in_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        (tmp_path / f"{number}.txt").write_bytes(b"x")
    monkeypatch.setattr(folder_module, "MOST_NAMES", 20)
    assert len(scan(tmp_path).names) == 20
    (tmp_path / "training_args.bin").touch()  # one that would be left out counts, too
    monkeypatch.setattr(folder_module, "_decide", pytest.fail)
    with pytest.raises(PreflightRefused, match="holds more than 20 names") as caught:
        scan(tmp_path, exclude=("*",))
    assert "the files of one model" in caught.value.hint


def test_no_glob_stays_in_memory_with_the_library(tmp_path: Path) -> None:
    """`fnmatch` keeps 32,768 of them for as long as the process lives."""
    folder(tmp_path, BASE)
    kept = fnmatch._compile_pattern.cache_info().currsize  # type: ignore[attr-defined]
    scan(tmp_path, [f"{number}*" for number in range(100)], [f"?{number}" for number in range(100)])
    assert fnmatch._compile_pattern.cache_info().currsize - kept < 100  # type: ignore[attr-defined]
