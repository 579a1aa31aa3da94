"""The state folder is private and on a real disk, or it is refused."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlalchemy import Engine

from tests.sqlite import sqlite_url
from uploader import mounts
from uploader.core.errors import StoreError, UsageError
from uploader.core.store_reasons import StoreCode
from uploader.store.database import migrate, sqlite, state_folder
from uploader.store.database.dialect import open_engine
from uploader.store.database.state_folder import (
    folder_of_ours,
    new_private_file,
    private_folder,
)
from uploader.store.database.workers import exclusive

MOUNTS = """\
/dev/sda / ext4 rw 0 0
server:/home /home nfs4 rw 0 0
/dev/sdb /home/me/disk xfs rw 0 0
//nas/x /mnt/with\\040space cifs rw 0 0
shared /mnt/host virtiofs rw 0 0
shared /mnt/box vboxsf rw 0 0
union /mnt/union fuse.mergerfs rw 0 0
odd /mnt/odd fuse.something rw 0 0
tmp /run tmpfs rw 0 0
layers /container overlay rw 0 0
"""


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.fixture
def table(tmp_path: Path) -> Path:
    found = tmp_path / "mounts"
    found.write_text(MOUNTS)
    return found


@pytest.mark.parametrize(
    "path",
    ["/home/me/.local/state", "/mnt/with space/state", "/mnt/box/s", "/mnt/union"],
)
def test_a_file_system_that_breaks_a_database_is_refused(table: Path, path: str) -> None:
    with pytest.raises(UsageError) as raised:
        mounts.refuse_bad(Path(path), table)
    assert raised.value.exit_code == 2
    assert "UPLOADER_STATE_DIR" in raised.value.hint


@pytest.mark.parametrize("path", ["/mnt/host/state", "/mnt/odd"])
def test_one_that_only_looks_like_a_disk_is_doubted(table: Path, path: str) -> None:
    mounts.refuse_bad(Path(path), table)
    assert path in mounts.doubts(Path(path), table)


@pytest.mark.parametrize(
    "path", ["/var/lib/uploader", "/home/me/disk/state", "/mnt/with", "/run/x", "/container/y"]
)
def test_a_local_disk_is_taken_without_a_word(table: Path, path: str) -> None:
    mounts.refuse_bad(Path(path), table)
    assert mounts.doubts(Path(path), table) == ""


@pytest.mark.parametrize("end", ["\r", "\v", "\f", "\x1c", "\x85", "\u2028", "\n", " "])
def test_whoever_may_mount_ends_no_line_by_the_name_of_a_mount_point(
    tmp_path: Path, end: str
) -> None:
    """Any user may, by FUSE, and Linux escapes only "\\n" and the blank in such a name."""
    table = tmp_path / "mounts"
    strange = f"it /tmp/a{end}b fuse rw 0 0\nit /tmp/{end} fuse rw 0 0\n{end}\n"
    table.write_bytes((MOUNTS + strange).encode())
    assert mounts.file_system(Path("/home/me/disk/state"), table) == "xfs"


def test_a_file_server_is_known_by_its_device_wherever_it_is_mounted(tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(
        "20 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n"
        "21 20 0:52 / /far rw shared:2 master:1 - nfs4 server:/models rw\n"
        "22 20 0:52 /in /with\\040blank rw - nfs4 server:/models rw\n"
        "23 20 0:53 / /other rw - fuse.sshfs me@there: rw\n"
        "24 21 8:1 /srv /far/local rw - ext4 /dev/sda1 rw\n"
    )
    device = mounts.far_devices(table)
    there = ("/far", "/far/a/b", "/with blank/a", "/other/a", "/farther", "/far/local/a", "/")
    assert [device(one) for one in there] == ["0:52", "0:52", "0:52", "0:53", "", "", ""]
    assert mounts.far_devices(tmp_path / "absent")("/far") == ""


def test_if_mounts_are_unknown_every_folder_is_accepted(tmp_path: Path) -> None:
    mounts.refuse_bad(Path("/home"), tmp_path / "absent")
    (tmp_path / "empty").write_text("")
    mounts.refuse_bad(Path("/home"), tmp_path / "empty")
    assert mounts.doubts(Path("/home"), tmp_path / "empty") == ""


@pytest.mark.parametrize("bits", [0o020, 0o002, 0o022])
def test_a_folder_that_others_may_write_is_refused(tmp_path: Path, bits: int) -> None:
    state = tmp_path / "state"
    state.mkdir()
    state.chmod(0o755 | bits)
    with pytest.raises(UsageError) as raised:
        private_folder(state)
    assert str(state) in raised.value.message
    assert "chmod go-w" in raised.value.hint
    assert not [*state.iterdir()]


def test_a_folder_of_another_user_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(UsageError, match="another user's"):
        private_folder(tmp_path)


@contextmanager
def opened(folder: Path) -> Iterator[Engine]:
    engine = open_engine(sqlite_url(folder / "uploader.db"))
    try:
        yield engine
    finally:
        engine.dispose()  # Python 3.13 warns of a connection that nobody closed


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    with opened(folder) as engine:
        migrate.ensure(engine, folder)
    return folder


@pytest.mark.parametrize("name", ["uploader.db", "uploader.db-wal", "uploader.db-shm"])
def test_a_store_that_others_may_write_is_refused(state: Path, name: str) -> None:
    (state / name).touch()
    (state / name).chmod(0o666)
    with pytest.raises(UsageError, match="may be written by others"):
        open_engine(sqlite_url(state / "uploader.db"))


def test_a_restored_copy_is_made_private(state: Path) -> None:
    (state / "uploader.db").chmod(0o644)
    open_engine(sqlite_url(state / "uploader.db")).dispose()
    assert mode(state / "uploader.db") == 0o600


def test_with_a_restored_copy_all_beside_it_is_made_private(state: Path) -> None:
    """What others can open, they can also lock, and a backup holds session URIs."""
    beside = [state / f"uploader.db{end}" for end in (".backup", ".backup-0005", "-wal")]
    for path in (state / "uploader.db", *beside):
        path.touch(0o644)
        path.chmod(0o644)
    (state / "uploader.db.backup-link").symlink_to(state)
    (state / "uploader.db.html").touch(0o644)
    with opened(state):
        pass
    assert {mode(path) for path in beside if path.exists()} == {0o600}
    assert beside[0].exists()
    assert mode(state / "uploader.db.html") == 0o644, "it is not ours"
    assert mode(state) == 0o700


def test_beside_a_link_to_the_table_backups_are_made_private_too(state: Path) -> None:
    elsewhere = state.with_name("elsewhere")
    elsewhere.mkdir(mode=0o700)
    (state / "uploader.db").rename(elsewhere / "table.db")
    (state / "uploader.db").symlink_to(elsewhere / "table.db")
    backups = [elsewhere / "table.db.backup", state / "uploader.db.backup"]
    for path in (elsewhere / "table.db", *backups):
        path.touch()
        path.chmod(0o644)
    open_engine(sqlite_url(state / "uploader.db")).dispose()
    assert [mode(path) for path in backups] == [0o600, 0o600]


@pytest.mark.parametrize("name", ["workers", "marks", "uploader.db.snapshots"])
def test_a_restored_folder_of_ours_is_made_private(state: Path, name: str) -> None:
    folder = state / name
    folder.mkdir()
    folder.chmod(0o755)
    folder_of_ours(folder)
    assert mode(folder) == 0o700


def test_a_restored_lock_is_made_private(state: Path) -> None:
    lock = state / "migrate.lock"
    lock.touch(0o644)
    lock.chmod(0o644)
    with exclusive(lock):
        assert mode(lock) == 0o600


def test_a_new_file_is_nobodys_link(tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("mine")
    (tmp_path / "link").symlink_to(target)
    for name in ("precious", "link"):
        with pytest.raises(FileExistsError):
            new_private_file(tmp_path / name)
    assert target.read_text() == "mine"


def test_a_backup_follows_no_link_that_waits_for_it(state: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    copy = tmp_path / "copy.db"
    (tmp_path / "copy.db.part").symlink_to(precious)
    with opened(state) as engine:
        migrate.backup(engine, copy)
    assert precious.read_text() == "mine"
    assert (mode(copy), copy.is_symlink()) == (0o600, False)
    assert not [*tmp_path.glob("copy.db.*.part")]


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE VIEW v AS SELECT 1",
        "CREATE TRIGGER t AFTER UPDATE ON jobs BEGIN UPDATE jobs SET path = '/etc'; END",
        "CREATE TEMP TRIGGER t AFTER UPDATE ON jobs BEGIN SELECT 1; END",
        "CREATE VIRTUAL TABLE f USING fts5(x)",
    ],
)
def test_a_store_with_a_program_in_it_is_refused(state: Path, statement: str) -> None:
    with closing(sqlite3.connect(state / "uploader.db")) as connection:
        connection.execute(statement)
        connection.commit()
    with opened(state) as engine:
        if "TEMP" in statement:  # lives with its connection only
            migrate.require_head(engine)
            return
        with pytest.raises(StoreError) as raised:
            migrate.require_head(engine)
    assert raised.value.code == StoreCode.FOREIGN


def test_the_schema_is_not_trusted(engine: Engine) -> None:
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA trusted_schema").scalar() == 0
        assert connection.exec_driver_sql("PRAGMA cell_size_check").scalar() == 1


def test_an_old_sqlite_is_reported_with_the_cure() -> None:
    sqlite.refuse_old(sqlite3.sqlite_version_info)
    with pytest.raises(StoreError) as raised:
        sqlite.refuse_old((3, 34, 1))
    assert "3.34.1" in raised.value.message
    assert "newer Python" in raised.value.hint
    assert raised.value.exit_code == 11


def test_a_check_of_the_whole_file_finds_it_whole(engine: Engine) -> None:
    sqlite.check(engine)
    sqlite.check(engine, whole=False)


def test_a_loop_of_links_is_an_error_in_words(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for path in (tmp_path / "loop", tmp_path / "loop/state"):
        with pytest.raises(OSError, match=r"symbolic links|File exists"):
            private_folder(path)
        assert mounts.doubts(path) is not None


HOLD = "import sys, fcntl; f = open(sys.argv[1], 'r+'); fcntl.flock(f, 2); print(); input()"


def test_a_lock_has_an_end_and_names_who_holds_it(tmp_path: Path) -> None:
    lock = tmp_path / "migrate.lock"
    with exclusive(lock):
        pass
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        lock.write_text(str(holder.pid))
        with pytest.raises(StoreError) as raised, exclusive(lock, patience_s=0.3):
            pass
        holder.kill()
    assert (raised.value.code, raised.value.exit_code) == (StoreCode.LOCKED, 11)
    assert f"process {holder.pid}" in raised.value.message
    with exclusive(lock, patience_s=10):
        pass


def test_who_held_a_lock_long_ago_is_not_said_to_hold_it(tmp_path: Path) -> None:
    """Whoever locks it now may not be able to write into it."""
    lock = tmp_path / "migrate.lock"
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        pass
    with exclusive(lock):
        lock.write_text(str(gone.pid))
        with pytest.raises(StoreError) as raised, exclusive(lock, patience_s=0.0):
            pass
    assert "another process has locked" in raised.value.message
    assert raised.value.hint == f"fuser {lock}"


def test_words_in_a_lock_are_not_repeated(tmp_path: Path) -> None:
    lock = tmp_path / "migrate.lock"
    with exclusive(lock):
        lock.write_text("; rm -rf /")
        with pytest.raises(StoreError) as raised, exclusive(lock, patience_s=0.0):
            pass
    assert "rm" not in raised.value.message + raised.value.hint


def parent_of(root: Path, mode: int) -> Path:
    parent = root / "parent"
    parent.mkdir()
    parent.chmod(mode)
    return parent


@pytest.mark.parametrize("how", ["itself", "by a link"])
def test_a_folder_below_one_that_others_may_write_is_refused(tmp_path: Path, how: str) -> None:
    parent = parent_of(tmp_path, 0o777)
    (tmp_path / "link").symlink_to(parent)
    with pytest.raises(UsageError, match=r"could be replaced: .*/(parent|link) may be") as raised:
        private_folder((tmp_path / "link" if how == "by a link" else parent) / "state")
    assert "only you and root" in raised.value.hint
    assert not [*parent.iterdir()]


def test_a_folder_below_a_sticky_one_is_accepted(tmp_path: Path) -> None:
    state = parent_of(tmp_path, 0o1777) / "state"
    private_folder(state)
    assert mode(state) == 0o700


@pytest.mark.parametrize(("name", "safe"), [("ours", True), ("others", False)])
def test_only_a_group_of_our_own_may_write_above_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, *, safe: bool
) -> None:
    parent = parent_of(tmp_path, 0o775)
    os.chown(parent, -1, 54321) if os.geteuid() == 0 else pytest.skip("only root may do this")
    monkeypatch.setattr("grp.getgrgid", lambda _: SimpleNamespace(gr_name=name, gr_mem=[]))
    monkeypatch.setattr("pwd.getpwuid", lambda _: SimpleNamespace(pw_name="ours"))
    with nullcontext() if safe else pytest.raises(UsageError, match="may be written"):
        private_folder(parent / "state")


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_link_that_others_put_into_a_sticky_folder_is_not_our_state_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """What is at its end is ours, and holds a job table of theirs: a repository of them.

    The link may be one of ours that lay elsewhere: to move it, they need no right on it.
    """
    download = tmp_path / "download"
    download.mkdir()
    state = parent_of(tmp_path, 0o1777) / "state"
    refuse_bad = mounts.refuse_bad

    def plants(path: Path) -> None:
        state.symlink_to(download)
        refuse_bad(path)

    def is_planted(*_: object, **__: object) -> None:
        state.symlink_to(download)

    if when == "before":
        monkeypatch.setattr(state_folder, "refuse_bad", plants)
    else:
        monkeypatch.setattr(Path, "mkdir", is_planted)
    with pytest.raises(UsageError, match=f"others may have put {state} there"):
        private_folder(state)


def test_a_backup_into_a_folder_of_others_is_refused(state: Path, tmp_path: Path) -> None:
    target = parent_of(tmp_path, 0o777) / "copy.db"
    with opened(state) as engine, pytest.raises(UsageError, match="could be replaced"):
        migrate.save(engine, state, target)
    assert not [*target.parent.iterdir()]


def test_a_backup_into_a_sticky_folder_is_made_where_nobody_else_has_files(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite takes a log beside the copy for the copy's own, whoever has put it there."""
    target, made, copies = parent_of(tmp_path, 0o1777) / "copy.db", [], sqlite.copy

    def copy(engine: Engine, path: Path) -> None:
        made.append((mode(path.parent), path.parent.stat().st_uid, mode(path)))
        copies(engine, path)

    monkeypatch.setattr(sqlite, "copy", copy)
    with opened(state) as engine:
        migrate.save(engine, state, target)
    assert made == [(0o700, os.geteuid(), 0o600)]
    assert [*target.parent.iterdir()] == [target]
    assert mode(target) == 0o600


def test_a_backup_under_a_name_that_no_file_can_have_is_refused(
    state: Path, tmp_path: Path
) -> None:
    for name, flaw in (("x" * 250, "is too long"), ("a\0b", "contains a NUL")):
        with opened(state) as engine, pytest.raises(UsageError, match=flaw):
            migrate.save(engine, state, tmp_path / name)
