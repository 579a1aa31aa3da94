"""A model.sig: its list of digests against the files, with `model-signing` and without."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from contextlib import nullcontext
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import pytest

from tests.model.build import BASE, LORA, Brief, brief, check, folder
from uploader import files
from uploader.core.distribution import install
from uploader.core.errors import Stopped
from uploader.core.job import Kind
from uploader.model.folder import scan
from uploader.model.reading import read_object
from uploader.preflight.checks import json_files
from uploader.preflight.checks import signature as signature_room
from uploader.preflight.checks.signature import SIGNATURE
from uploader.preflight.registry import findings
from uploader.runtime import StopToken

W, E = "warning", "error"


def signature(files: dict[str, bytes], **serialization: str) -> bytes:
    """A bundle as `model_signing sign` writes it, without what only its signer can make."""
    resources = [
        {"name": name, "algorithm": "sha256", "digest": hashlib.sha256(body).hexdigest()}
        for name, body in files.items()
    ]
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "predicateType": "https://model_signing/signature/v1.0",
        "predicate": {
            "resources": resources,
            "serialization": {"method": "files", "hash_type": "sha256", **serialization},
        },
    }
    payload = base64.b64encode(json.dumps(statement).encode()).decode()
    return json.dumps({"dsseEnvelope": {"payload": payload, "signatures": []}}).encode()


def signed(files: dict[str, bytes], **serialization: str) -> dict[str, bytes]:
    return {**files, SIGNATURE: signature(files, **serialization)}


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signature_room, "find_spec", lambda _: object())


@pytest.fixture
def no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signature_room, "find_spec", lambda _: None)


CASES: dict[str, tuple[dict[str, bytes], Brief]] = {
    "as it was signed": (signed(BASE), [("model_sig", W, SIGNATURE)]),
    # The evidence is the signer's own list: SHA-256 of other bytes.
    "changed since": (
        {**signed(BASE), "README.md": b"other"},
        [("model_sig", E, "README.md")],
    ),
    "with a file that nobody signed": (
        {**signed(BASE), "NOTES": b"x"},
        [("model_sig", W, SIGNATURE)],
    ),
    "digests of shards": (signed(BASE, method="shards"), [("model_sig", W, SIGNATURE)]),
    "other digests": (signed(BASE, hash_type="blake3"), [("model_sig", W, SIGNATURE)]),
    "no bundle": ({**BASE, SIGNATURE: b"{}"}, [("model_sig", W, SIGNATURE)]),
    "no JSON": ({**BASE, SIGNATURE: b"\xff"}, [("model_sig", W, SIGNATURE)]),
    "names above": (
        {**BASE, SIGNATURE: signature({"../../etc/passwd": b"x"})},
        [("model_sig", W, SIGNATURE)],
    ),
    "of an adapter": (signed(LORA), [("model_sig", W, SIGNATURE)]),
}


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize(("files", "expected"), CASES.values(), ids=CASES)
def test_a_signature_is_compared_with_the_files(
    tmp_path: Path, files: dict[str, bytes], expected: Brief
) -> None:
    assert brief(check(tmp_path, files)) == expected


@pytest.mark.usefixtures("library")
def test_it_is_reported_that_nobody_checked_the_signer(tmp_path: Path) -> None:
    (finding,) = check(tmp_path, signed(BASE))
    assert finding.message == (f"{len(BASE)} files match model.sig; its signer was not checked")
    assert "model_signing verify" in finding.hint


@pytest.mark.usefixtures("library")
def test_a_file_is_hashed_once_whatever_its_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[int] = []
    whole = signature_room._digest

    def digest(file: BinaryIO, size_bytes: int) -> str:
        hashed.append(size_bytes)
        return whole(file, size_bytes)

    monkeypatch.setattr(signature_room, "_digest", digest)
    again = {f"again-{number}.txt": BASE["README.md"] for number in range(9)}
    folder(tmp_path, signed({**BASE, **again}))
    for name in again:
        (tmp_path / name).unlink()
        (tmp_path / name).hardlink_to(tmp_path / "README.md")
    (found,) = findings(scan(tmp_path), Kind.BASE)
    assert f"{len(BASE) + 9} files match" in found.message
    assert len(hashed) == len(BASE)


@pytest.mark.usefixtures("library")
def test_what_consists_of_holes_is_not_hashed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of eight terabytes takes no room, and hours."""
    monkeypatch.setattr(signature_room, "_HOLES_BYTES", 1 << 20)
    folder(tmp_path, signed({**BASE, "README.md": bytes(3 << 20)}))
    (found,) = findings(scan(tmp_path), Kind.BASE)
    assert "files match" in found.message  # they are zeros, but they take room
    os.truncate(tmp_path / "README.md", 0)
    os.truncate(tmp_path / "README.md", 3 << 20)
    (found,) = findings(scan(tmp_path), Kind.BASE)
    assert found.message == "model.sig lists files that consist of holes: not verified"


@pytest.mark.usefixtures("no_library")
def test_without_the_library_it_is_reported_that_nothing_was_verified(tmp_path: Path) -> None:
    (finding,) = check(tmp_path, {**signed(BASE), "README.md": b"other"})
    assert brief([finding]) == [("model_sig", W, SIGNATURE)]
    assert "was not verified" in finding.message
    assert finding.hint.startswith(install("signatures"))


class Endless(BytesIO):
    """A file that somebody writes to, faster than it is read."""

    def read(self, size: int | None = -1, /) -> bytes:
        assert size is not None
        assert size >= 0, "it is read to an end that goes away"
        return bytes(size)


def test_of_a_file_that_grows_no_more_is_read_than_was_there() -> None:
    """Whoever may write into the folder could keep a thread reading for ever."""
    for size_bytes in (0, 3, (1 << 20) + 1):
        found = signature_room._digest(Endless(), size_bytes)
        assert found == hashlib.sha256(bytes(size_bytes)).hexdigest()


def test_a_file_is_read_no_further_once_nobody_waits_for_it() -> None:
    stop = StopToken()
    stop.stop()
    with files.looking(stop, lambda _: nullcontext()), pytest.raises(Stopped):
        signature_room._digest(Endless(), 1 << 50)


def test_the_ends_of_a_file_that_grows_are_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "opened", lambda _: nullcontext(Endless(bytes(1 << 20))))
    assert not json_files._has_ends(Path("index.json"))


def test_the_library_itself_says_the_same(tmp_path: Path) -> None:
    hashing = pytest.importorskip("model_signing.hashing", exc_type=ImportError)
    config = hashing.Config().use_file_serialization(hashing_algorithm="sha256")
    root = folder(tmp_path, signed(BASE))
    found = config.hash(root, files_to_hash=[root / name for name in BASE])
    digests = {one.identifier: one.digest.digest_hex for one in found.resource_descriptors()}
    assert signature_room._listed(read_object(root / SIGNATURE)) == digests
    assert brief(findings(scan(root), Kind.BASE)) == [("model_sig", W, SIGNATURE)]
    assert brief(check(tmp_path, {"README.md": b"other"})) == [("model_sig", E, "README.md")]
