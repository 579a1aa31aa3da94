"""A file that a user names may be a pipe or a device: nobody waits for it for ever."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from requests.utils import DEFAULT_CA_BUNDLE_PATH

from uploader import files, mounts
from uploader.core.errors import UploaderError, UsageError
from uploader.intake.verify import proof_of_receipt
from uploader.model.fields import read_fields
from uploader.model.folder import scan
from uploader.remote import trust
from uploader.remote.credentials import ApiKeySource
from uploader.service.hooks.deliver import _signed
from uploader.service.http.listen import certificate
from uploader.settings.load import load
from uploader.settings.schema import Settings
from uploader.wiring import seal

NOW = datetime(2026, 11, 22, tzinfo=UTC)
AT_ONCE_S = 20.0


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "PATIENCE_S", 0.2)


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    path = tmp_path / "pipe"
    os.mkfifo(path, 0o600)
    return path


@pytest.fixture
def written(pipe: Path) -> Iterator[Callable[[bytes], Path]]:
    """Somebody writes into the pipe, as soon as it is read."""
    threads: list[threading.Thread] = []

    def write(content: bytes) -> Path:
        threads.append(threading.Thread(target=pipe.write_bytes, args=(content,), daemon=True))
        threads[-1].start()
        return pipe

    yield write
    for thread in threads:
        thread.join(AT_ONCE_S)


def settings_of(tmp_path: Path, **words: object) -> Settings:
    return Settings(state_dir=tmp_path / "state", **words)  # type: ignore[arg-type]


OPENERS: dict[str, Callable[[Path, Path], object]] = {
    "key file": lambda path, _: ApiKeySource(None, path, None, None).read(),
    "receipt": lambda path, _: proof_of_receipt(path),
    "fields of the model": lambda path, _: read_fields(path),
    "CA bundle": lambda path, _: trust._made(path),
    "secret of the table": lambda path, home: seal(settings_of(home, database_secret_file=path)),
    "secret of a hook": lambda path, _: _signed((path,), "m", NOW, b""),
    "certificate": lambda path, home: certificate(
        settings_of(home, api={"tls_cert_file": path, "tls_key_file": path})
    ),
    "configuration": lambda path, _: load(path),
}


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("what", "kind"),
    [
        (what, kind)
        for what in OPENERS
        for kind in ("pipe", "device", "folder", "endless")
        if (what, kind) != ("CA bundle", "folder")  # OpenSSL takes one
    ],
)
def test_what_is_not_a_file_is_refused_and_not_waited_for(
    tmp_path: Path, pipe: Path, what: str, kind: str
) -> None:
    places = {"device": Path("/dev/null"), "folder": tmp_path, "endless": Path("/dev/zero")}
    began_s = time.monotonic()
    with pytest.raises((UploaderError, Exception)) as caught:
        OPENERS[what](places.get(kind, pipe), tmp_path)
    assert isinstance(caught.value, UploaderError) or what == "secret of a hook"
    assert time.monotonic() - began_s < AT_ONCE_S


@pytest.mark.parametrize("what", ["key file", "fields of the model", "secret of the table"])
def test_what_a_shell_gives_in_place_of_a_file_is_read_to_its_end(
    tmp_path: Path, written: Callable[[bytes], Path], what: str
) -> None:
    content = b'{"contextLength":32768,"title":"mine"}'
    OPENERS[what](written(content), tmp_path)


def test_a_bundle_may_come_through_a_pipe(written: Callable[[bytes], Path]) -> None:
    bundle = Path(DEFAULT_CA_BUNDLE_PATH).read_bytes()
    made = trust._made.__wrapped__(written("# é\n".encode() + bundle))
    assert made.get_ca_certs()


@pytest.mark.parametrize("nothing", [b"", b"no certificate"])
def test_a_bundle_without_a_certificate_is_refused(
    written: Callable[[bytes], Path], nothing: bytes
) -> None:
    with pytest.raises(UsageError, match="it contains no certificate"):
        trust._made.__wrapped__(written(nothing))


def test_a_pipe_gives_no_more_than_was_asked_for(written: Callable[[bytes], Path]) -> None:
    assert files.read(written(b"x" * 100_000), 70_000, pipe=True)[0] == b"x" * 70_000


@pytest.mark.usefixtures("impatient")
def test_a_pipe_that_is_kept_open_is_given_up(pipe: Path) -> None:
    kept = os.open(pipe, os.O_RDWR)
    os.write(kept, b"half a key")
    with pytest.raises(TimeoutError):
        files.read(pipe, 100, pipe=True)
    os.close(kept)


def test_what_was_read_is_what_the_facts_are_about(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    content, facts = files.read(path, 2)
    assert (content, facts.st_size, facts.st_ino) == (b"ab", 3, path.stat().st_ino)


def test_where_a_file_is_counts_and_not_its_name(tmp_path: Path) -> None:
    inside, outside = tmp_path / "root" / "inside", tmp_path / "rooted"
    inside.parent.mkdir()
    for path in (inside, outside):
        path.write_text("words")
    (inside.parent / "out").symlink_to(outside)
    (tmp_path / "in").symlink_to(inside)
    with files.only_below([inside.parent], LookupError("elsewhere")):
        assert files.read(tmp_path / "in", 10)[0] == b"words"
        for name in (outside, inside.parent / "out"):
            with pytest.raises(LookupError, match="elsewhere"):
                files.read(name, 10)
            with pytest.raises(LookupError), files.opened(name):
                pass
    assert files.read(outside, 10)[0] == b"words"


OPEN = os.open
LOOKS = getattr(os, "O_PATH", 0)
PLACES = [False, pytest.param(True, marks=pytest.mark.skipif(not LOOKS, reason="Linux has them"))]


def opens_nothing(path: str | Path, flags: int, *_: Any, dir_fd: int | None = None) -> int:
    assert flags & LOOKS
    return OPEN(path, flags, dir_fd=dir_fd)


@pytest.mark.parametrize("places", PLACES)
@pytest.mark.parametrize("name", ["device", "pipe", "folder", "link"])
def test_what_is_not_a_file_is_not_even_opened(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, places: bool
) -> None:
    monkeypatch.setattr(files, "_HAS_PLACES", places)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "device").symlink_to("/dev/ptmx")
    (tmp_path / "link").symlink_to("device")
    below = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    monkeypatch.setattr(os, "open", opens_nothing)
    try:
        with pytest.raises(files.NotAFile):
            files.read(tmp_path / name, 1)
        with pytest.raises(files.NotAFile):
            files.descriptor_of(tmp_path / name)
        with pytest.raises(files.NotAFile):
            files.descriptor_of(name, below=below)
        if not (tmp_path / name).is_symlink():
            with pytest.raises(files.NotAFile):
                files.descriptor_of(name, os.O_NOFOLLOW, below=below)
    finally:
        os.close(below)


@pytest.mark.skipif(not LOOKS, reason="elsewhere a file is opened by its name")
@pytest.mark.parametrize("flags", [0, os.O_NOFOLLOW])
def test_what_was_looked_at_is_opened_whatever_its_name_leads_to_by_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: int
) -> None:
    path, check = tmp_path / "file", files._check
    path.write_bytes(b"words")

    def then_turns(*found: Any, **how: Any) -> None:
        check(*found, **how)
        path.unlink()
        path.symlink_to("/dev/ptmx")

    monkeypatch.setattr(files, "_check", then_turns)
    descriptor = files.descriptor_of(path, flags)
    assert os.read(descriptor, 9) == b"words"
    os.close(descriptor)


def test_nothing_outside_is_even_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "outside").write_bytes(b"words")
    (tmp_path / "in" / "link").symlink_to("../outside")
    monkeypatch.setattr(os, "open", opens_nothing)
    with files.only_below([tmp_path / "in"], LookupError()), pytest.raises(LookupError):
        files.read(tmp_path / "in" / "link", 9)


@pytest.mark.skipif(not LOOKS, reason="Linux has these links")
def test_what_another_process_has_mounted_in_a_folder_is_not_in_it(tmp_path: Path) -> None:
    secret, real, link = (tmp_path / name for name in ("secret", "m/real.json", "m/config.json"))
    real.parent.mkdir()
    secret.write_text('{"model_type": "secret"}')
    real.write_text("{}")
    mounts_it = [
        "unshare",
        "-Urm",
        "sh",
        "-c",
        f"mount --bind {secret} {real} && echo so && read x",
    ]
    pipe = subprocess.PIPE
    with subprocess.Popen(mounts_it, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stdin
        assert process.stdout
        if process.stdout.readline() != b"so\n":
            pytest.skip("this user may not have mounts of its own")
        link.symlink_to(f"/proc/{process.pid}/root{real}")
        assert link.read_text() == secret.read_text()
        with pytest.raises(OSError, match="not where the system says"):
            files.real(link)
        with files.only_below([real.parent], LookupError()), pytest.raises(OSError, match="says"):
            files.read(link, 99)
        assert "secret" not in str(scan(real.parent).findings)
        process.stdin.close()


def test_a_file_that_may_not_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"words")

    def denied(name: str | Path, flags: int, *_: Any, dir_fd: int | None = None) -> int:
        if not flags & LOOKS or not LOOKS:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(name))
        return OPEN(name, flags, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", denied)
    with pytest.raises(PermissionError) as caught:
        files.read(path, 9)
    assert caught.value.filename == str(path)


@pytest.mark.parametrize("places", PLACES)
def test_a_link_that_is_not_to_be_followed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, places: bool
) -> None:
    monkeypatch.setattr(files, "_HAS_PLACES", places)
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to("file")
    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
        files.descriptor_of(tmp_path / "link", os.O_NOFOLLOW)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no disk counts as local")
@pytest.mark.parametrize("leads_to", ["/proc/version", "/dev/null", "/sys/kernel/notes"])
def test_an_open_file_is_on_the_disk_it_was_opened_on_whatever_its_name_leads_to(
    tmp_path: Path, leads_to: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its folder's owner may unlink it, and choose what stands under each name."""
    path = tmp_path / "weights"
    path.write_bytes(b"x")
    kind = mounts.file_system(path)
    monkeypatch.setattr(mounts, "LOCAL", {kind})  # wherever the tests run
    with path.open("rb") as file:
        assert mounts.is_local_file(file.fileno())
        (tmp_path / "weights (deleted)").symlink_to(leads_to)
        path.unlink()
        assert mounts.is_local_file(file.fileno())
        path.symlink_to(leads_to)
        assert mounts.is_local_file(file.fileno())
    with Path("/proc/version").open("rb") as file:
        assert not mounts.is_local_file(file.fileno())
