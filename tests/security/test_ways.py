"""A file that others could replace by another, by way of a folder, is not believed."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from uploader import mounts, ways
from uploader.core.errors import UsageError
from uploader.settings import places
from uploader.settings.load import load
from uploader.settings.strangers import replaceable
from uploader.ways import hostile

GRAVE = "[fireworks]\nbase_url = 'https://evil.example'\napi_key_command = 'touch owned'\n"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    found = tmp_path / "home"
    found.mkdir(mode=0o755)
    monkeypatch.setenv("HOME", str(found))
    monkeypatch.setattr(places, "SYSTEM", tmp_path / "etc")
    ways._is_first_of_others.cache_clear()
    return found


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A folder in which everybody may put something in the place of something else."""
    found = tmp_path / "shared"
    found.mkdir()
    found.chmod(0o777)
    return found


def at_risk(home: Path, shared: Path, how: str) -> Path:
    """The name of a file of the user's own, which others may have led it to."""
    mine = home / "notes.toml"
    mine.write_text(GRAVE)
    match how:
        case "in it":
            return mine.rename(shared / "uploader.toml")
        case "further down":
            (shared / "mine").mkdir(mode=0o700)
            return mine.rename(shared / "mine/uploader.toml")
        case "a link in it":
            name = shared / "uploader.toml"
            name.symlink_to(mine)
        case "a link to it":
            mine.rename(shared / "uploader.toml")
            name = home / "uploader.toml"
            name.symlink_to(shared / "uploader.toml")
        case "a link to a link in it":
            (shared / "uploader.toml").symlink_to("../home/notes.toml")
            name = home / "uploader.toml"
            name.symlink_to("../shared/../shared/uploader.toml")
        case _:
            (shared / "way").symlink_to(home)
            (home / "way").symlink_to(shared / "way")
            name = home / "way/notes.toml"
    return name


#: Their places in what `stat` returns.
UID, GID = 4, 5


def seen_as(folder: Path, monkeypatch: pytest.MonkeyPatch, place: int, number: int) -> None:
    """Let the folder belong to that user or group."""
    ask = Path.stat

    def stat_of(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        found = ask(path, follow_symlinks=follow_symlinks)
        if path != folder:
            return found
        return os.stat_result((*found[:place], number, *found[place + 1 :]))

    monkeypatch.setattr(Path, "stat", stat_of)


HOW = [
    "in it",
    "further down",
    "a link in it",
    "a link to it",
    "a link to a link in it",
    "a folder by a link in it",
]


@pytest.mark.parametrize("how", HOW)
def test_grave_settings_of_a_file_that_others_may_replace_are_refused(
    home: Path, shared: Path, how: str
) -> None:
    config = at_risk(home, shared, how)
    with pytest.raises(UsageError) as caught:
        load(config, {})
    assert f"others may replace {config}: {shared} may be written" in caught.value.message
    assert "base_url is refused" in caught.value.message
    assert "set the variable instead" in caught.value.hint
    shared.chmod(0o755)
    assert load(config, {}).fireworks.base_url == "https://evil.example"


def test_other_settings_of_such_a_file_are_taken(shared: Path) -> None:
    config = shared / "uploader.toml"
    config.write_text("[log]\nlevel = 'debug'\n")
    assert load(config, {}).log.level == "debug"


def test_a_folder_of_another_user_on_the_way_is_refused(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared.chmod(0o755)
    config = shared / "uploader.toml"
    config.write_text(GRAVE)
    seen_as(shared, monkeypatch, UID, os.geteuid() + 1)
    with pytest.raises(UsageError, match=f"{shared} is another user's"):
        load(config, {})


@pytest.mark.parametrize("mode", [0o755, 0o1777, 0o700])
def test_a_folder_in_which_nobody_else_may_replace_anything_is_taken(
    shared: Path, mode: int
) -> None:
    shared.chmod(mode)
    assert hostile(shared / "uploader.toml") == ""


HERE = "(a folder that everybody may write)"
POD = "/var/lib/kubelet/pods/1b2c/volumes"


@pytest.mark.parametrize(
    ("line", "taken"),
    [
        (f"21 20 8:1 / {HERE} ro - squashfs /dev/loop0 ro,errors=continue", True),
        (f"21 20 8:1 / {HERE} ro shared:2 master:1 - ext4 /dev/sdb1 ro", True),
        (f"21 20 8:1 / {HERE} ro - overlay overlay ro,lowerdir=/low:/lower", False),
        (f"21 20 8:1 / {HERE} ro - nfs4 server:/export ro,vers=4.2", False),
        (f"21 20 8:1 / {HERE} ro - fuse.sshfs me@there: ro,user_id=0", False),
        (f"21 20 8:1 {POD}/kubernetes.io~configmap/it {HERE} ro - ext4 /dev/sda1 rw", True),
        (f"21 20 8:1 {POD}/kubernetes.io~configmap/it {HERE} rw - ext4 /dev/sda1 rw", False),
        (f"21 20 8:1 {POD}/kubernetes.io~empty-dir/it {HERE} ro - ext4 /dev/sda1 rw", False),
        (f"21 20 8:1 /shared {HERE} ro,nosuid - ext4 /dev/sda1 rw", False),  # podman -v …:ro
        ("21 20 8:1 / / ro,nosuid - ext4 /dev/sda1 rw", False),  # ProtectSystem=strict
        (f"21 20 8:1 / {HERE}/deeper ro - squashfs /dev/loop0 ro", False),
    ],
)
def test_what_is_read_only_for_one_process_others_may_still_write(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, *, taken: bool
) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(f"20 1 8:1 / / rw - ext4 /dev/sda1 rw\n{line.replace(HERE, str(shared))}\n")
    monkeypatch.setattr(mounts.nobody_writes, "__defaults__", (table,))
    assert (hostile(shared / "uploader.toml") == "") is taken


@pytest.mark.parametrize(
    ("overflow", "known", "taken"),
    [
        ("{}\n", "         0       1000          1\n", False),
        ("{}\n", "0 1000 1\n1 100000 65536\n", False),
        ("{}\n", "         0          0 4294967295\n", True),
        ("77777\n", "0 1000 1\n", True),
        ("", "", True),
    ],
)
def test_whoever_is_shown_as_the_owner_of_others_files_owns_none(
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    overflow: str,
    known: str,
    taken: bool,
) -> None:
    """A container of a user's own that runs as `nobody`: all that it does not know is nobody's."""
    for name, content in (("_OVERFLOW", overflow), ("_KNOWN", known)):
        file = tmp_path / name
        file.write_text(content.format(os.geteuid()))
        monkeypatch.setattr(ways, name, file)
    found = hostile(home / "uploader.toml")
    assert ("stands for others" in found, found == "") == (not taken, taken)


OURS, THEIRS = os.geteuid(), os.geteuid() + 1


@pytest.mark.parametrize(
    ("line", "taken"),
    [
        (
            f"21 20 0:9 / {HERE} rw - fuse.bindfs /a rw,user_id={THEIRS},group_id=1,allow_other",
            False,
        ),
        (f"21 20 0:9 / {HERE} rw - fuse a rw,user_id={THEIRS},allow_other", False),
        (f"21 20 8:9 / {HERE} rw - fuseblk /dev/sdb1 rw,user_id={THEIRS},allow_other", False),
        (f"21 20 0:9 / {HERE}/mine rw - fuse.bindfs /a rw,user_id={THEIRS}", False),
        (f"21 20 0:9 / {HERE}/mine/uploader.toml rw - fuse a rw,user_id={THEIRS}", False),
        (f"21 20 0:9 / {HERE}/other rw - fuse.bindfs /a rw,user_id={THEIRS}", True),
        (f"21 20 0:9 / {HERE} rw - fuse.sshfs me@there: rw,user_id={OURS},allow_other", True),
        (f"21 20 0:9 / {HERE} rw - fuse.mergerfs all rw,user_id=0,allow_other", True),
        (f"21 20 0:9 / {HERE} rw - tmpfs user_id={THEIRS} rw", True),
    ],
)
def test_owners_are_not_believed_of_what_another_user_has_mounted(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, *, taken: bool
) -> None:
    """FUSE shows what its server says. With `allow_other`, it says that to everybody."""
    shared.chmod(0o1777)
    (shared / "mine").mkdir(mode=0o700)
    table = tmp_path / "mountinfo"
    table.write_text(f"20 1 8:1 / / rw - ext4 /dev/sda1 rw\n{line.replace(HERE, str(shared))}\n")
    monkeypatch.setattr(mounts.mounted_by_others, "__defaults__", (table,))
    found = hostile(shared / "mine/uploader.toml")
    assert ("has mounted what is at" in found, found == "") == (not taken, taken)


def test_a_group_that_has_two_names_has_the_members_of_both(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared.chmod(0o775)
    ours = SimpleNamespace(gr_name=pwd.getpwuid(os.geteuid()).pw_name, gr_mem=[], gr_gid=23456)
    other = SimpleNamespace(gr_name="builders", gr_mem=["somebody"], gr_gid=23456)
    monkeypatch.setattr(grp, "getgrgid", lambda _: ours)
    monkeypatch.setattr(grp, "getgrall", lambda: [ours, other])
    seen_as(shared, monkeypatch, GID, 23456)
    assert "may be written by others" in hostile(shared / "uploader.toml")


@pytest.mark.parametrize(("members", "taken"), [([], True), (["somebody"], False)])
def test_the_group_of_a_user_is_nobody_else(
    shared: Path, monkeypatch: pytest.MonkeyPatch, members: list[str], *, taken: bool
) -> None:
    shared.chmod(0o775)
    ours = pwd.getpwuid(os.geteuid()).pw_name
    found = SimpleNamespace(gr_name=ours, gr_mem=members)
    monkeypatch.setattr(grp, "getgrgid", lambda _: found)
    seen_as(shared, monkeypatch, GID, 12345)
    assert (hostile(shared / "uploader.toml") == "") is taken


@pytest.mark.parametrize("where", ["at its end", "on the way", "behind a link of ours"])
@pytest.mark.parametrize("owner", ["another", "us", "root"])
def test_a_link_that_others_may_have_put_into_a_sticky_folder_leads_nowhere(
    home: Path, shared: Path, monkeypatch: pytest.MonkeyPatch, where: str, owner: str
) -> None:
    """What is at its end is ours, with words of theirs. A link of ours may have lain elsewhere."""
    (home / "download").mkdir()
    (home / "download/uploader.toml").write_text(GRAVE)
    planted = shared / "planted"
    planted.symlink_to(home / "download" / ("uploader.toml" if where == "at its end" else ""))
    config = planted if where == "at its end" else planted / "uploader.toml"
    if where == "behind a link of ours":
        (home / "way").symlink_to(shared)
        config = home / "way/planted/uploader.toml"
    shared.chmod(0o755)
    assert hostile(config) == "", "nobody else may write there"
    shared.chmod(0o1777)
    us = os.geteuid() or 4242  # root is told apart
    monkeypatch.setattr(os, "geteuid", lambda: us)
    belongs(monkeypatch, us, {planted: {"another": 4343, "us": us, "root": 0}[owner]})
    told = f"others may have put {planted} there: {shared} may be written by others (mode 1777)"
    assert hostile(config) == ("" if owner == "root" else told)


def test_root_cannot_tell_who_put_there_what_is_roots(home: Path, shared: Path) -> None:
    if os.geteuid():
        pytest.skip("only root is root")
    shared.chmod(0o1777)
    (shared / "uploader.toml").symlink_to(home / "download.toml")
    assert "others may have put" in hostile(shared / "uploader.toml")


def test_a_file_of_ours_in_a_sticky_folder_may_have_been_moved_there(
    home: Path, shared: Path
) -> None:
    """From any folder that others may write; to move a folder they need a right on that."""
    shared.chmod(0o1777)
    (home / "download.toml").write_text(GRAVE)
    config = (home / "download.toml").rename(shared / "uploader.toml")
    with pytest.raises(UsageError, match="others may have put") as refused:
        load(config, {})
    assert "below folders that only you and root may write" in refused.value.hint
    (shared / "mine").mkdir(mode=0o700)
    inside = config.rename(shared / "mine/uploader.toml")
    assert load(inside, {}).fireworks.base_url == "https://evil.example"


def test_a_file_of_roots_in_a_sticky_folder_is_the_systems(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a store of Nix, which its builders may write."""
    shared.chmod(0o1775)
    config = shared / "uploader.toml"
    config.write_text(GRAVE)
    us = os.geteuid() or 4242
    monkeypatch.setattr(os, "geteuid", lambda: us)
    belongs(monkeypatch, us, {config: 0})
    assert hostile(config) == ""


def belongs(monkeypatch: pytest.MonkeyPatch, us: int, owners: dict[Path, int]) -> None:
    """Let these belong to those users, and all else to root or ``us``."""
    stat, lstat = Path.stat, Path.lstat

    def seen(path: Path, found: os.stat_result) -> os.stat_result:
        owner = owners.get(path, us if found.st_uid else 0)
        return os.stat_result((*found[:UID], owner, *found[UID + 1 :]))

    monkeypatch.setattr(Path, "stat", lambda path, **how: seen(path, stat(path, **how)))
    monkeypatch.setattr(Path, "lstat", lambda path: seen(path, lstat(path)))


def test_a_file_that_is_replaced_while_it_is_read_is_not_believed(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link of others may lead to it, and be gone when the way is judged."""
    config = home / "uploader.toml"
    config.write_text(GRAVE)

    def judged(path: Path) -> str:
        path.rename(home / "before.toml")
        path.write_text("")
        return ""

    monkeypatch.setattr("uploader.settings.strangers.hostile", judged)
    with pytest.raises(UsageError, match="was replaced while it was read"):
        load(config, {})


def test_a_user_without_a_name_has_no_group_of_its_own(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container, or if a directory service does not answer: all are others in a group."""
    shared.chmod(0o775)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    found = SimpleNamespace(gr_name="builders", gr_mem=["somebody"])
    monkeypatch.setattr(grp, "getgrgid", lambda _: found)
    seen_as(shared, monkeypatch, GID, 12345)
    assert f"{shared} may be written by others (mode 0775)" in hostile(shared / "uploader.toml")
    found.gr_mem = []
    assert "may be written by others" in hostile(shared / "uploader.toml")
    monkeypatch.setattr(grp, "getgrgid", unknown)
    assert hostile(shared / "uploader.toml") == "", "a volume's group, of which nobody here is"


@pytest.mark.parametrize("name", ["named", ""])
def test_the_group_of_the_system_has_the_members_that_it_names(
    shared: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Containers run as any user in that group."""
    shared.chmod(0o775)
    ours = SimpleNamespace(pw_name=name)
    monkeypatch.setattr(pwd, "getpwuid", (lambda _: ours) if name else unknown)
    found = SimpleNamespace(gr_name="root", gr_mem=["root"])
    monkeypatch.setattr(grp, "getgrgid", lambda _: found)
    seen_as(shared, monkeypatch, GID, 0)
    assert hostile(shared / "uploader.toml") == ""
    found.gr_mem = ["root", "somebody"]
    assert "may be written by others" in hostile(shared / "uploader.toml")


def test_who_has_our_group_as_their_first_is_somebody_else(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`useradd -g alice bob` names no member."""
    shared.chmod(0o775)
    ours = pwd.getpwuid(os.geteuid()).pw_name
    monkeypatch.setattr(grp, "getgrgid", lambda _: SimpleNamespace(gr_name=ours, gr_mem=[]))
    users = [SimpleNamespace(pw_name=ours, pw_uid=os.geteuid(), pw_gid=12345)]
    monkeypatch.setattr(pwd, "getpwall", lambda: users)
    seen_as(shared, monkeypatch, GID, 12345)
    assert hostile(shared / "uploader.toml") == ""
    users.append(SimpleNamespace(pw_name="bob", pw_uid=4242, pw_gid=12345))
    ways._is_first_of_others.cache_clear()
    assert "may be written by others" in hostile(shared / "uploader.toml")


def unknown(number: int) -> SimpleNamespace:
    raise KeyError(number)


def test_links_without_an_end_are_left_to_who_opens_them(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert hostile(tmp_path / "a") == ""


@pytest.mark.parametrize(
    ("variable", "what"),
    [
        ("UPLOADER_FIREWORKS__API_KEY_FILE", "the API key"),
        ("UPLOADER_API__TLS_KEY_FILE", "the TLS key"),
        ("UPLOADER_DATABASE_SECRET_FILE", "the secret of the job table"),
        ("UPLOADER_FIREWORKS__CA_BUNDLE", "the CA bundle"),
    ],
)
def test_a_named_file_that_others_may_replace_is_warned_of(
    shared: Path, home: Path, variable: str, what: str
) -> None:
    for folder, told in ((shared, 1), (home, 0)):
        file = folder / "secret"
        file.touch(0o600)
        found = load(None, {variable: str(file)}).warnings
        words = f"others may replace {what} in {file}: {folder} may be written by others"
        assert [words in warning for warning in found] == [True] * told


HOOK = "[[hooks]]\nname = 'mine'\non = ['ready']\ncommand = ['{}', 'argument']\n"
KEY_COMMAND = "[fireworks]\napi_key_command = '{} argument'\n"


@pytest.mark.parametrize(
    ("said", "what"), [(HOOK, "the command of hook mine"), (KEY_COMMAND, "the key command")]
)
@pytest.mark.parametrize("by_path", [False, True])
def test_a_program_that_others_may_replace_is_warned_of(
    shared: Path, home: Path, monkeypatch: pytest.MonkeyPatch, said: str, what: str, by_path: bool
) -> None:
    """It runs as this user, as the configuration says that names it."""
    for folder, told in ((shared, 1), (home, 0)):
        program = folder / "told"
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(folder))
        config = home / "uploader.toml"
        config.write_text(said.format("told" if by_path else program))
        found = [*replaceable(load(config, {}))]
        words = f"others may replace {what} in {program}: {folder} may be written by others"
        assert [words in warning for warning in found] == [True] * told
        program.chmod(0o777)
        assert any(f"others may write {what}" in one for one in replaceable(load(config, {})))


@pytest.mark.parametrize("said", [HOOK, KEY_COMMAND, "[fireworks]\napi_key_command = '\"'\n"])
def test_a_program_that_is_not_there_is_left_to_who_runs_it(home: Path, said: str) -> None:
    config = home / "uploader.toml"
    config.write_text(said.format(home / "nowhere"))
    assert not [one for one in replaceable(load(config, {})) if "others may" in one]


@pytest.mark.parametrize("said", [HOOK, KEY_COMMAND])
def test_no_disk_of_a_program_is_asked_by_who_does_not_run_it(
    home: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    """A folder of PATH, or of the program, may be on a server that does not answer."""
    config = home / "uploader.toml"
    config.write_text(said.format("told"))
    which = Mock(return_value=None)
    monkeypatch.setattr(shutil, "which", which)
    settings = load(config, {})
    assert not which.called
    assert [*replaceable(settings)] == []
    assert which.called


@pytest.mark.parametrize(
    ("mode", "owner", "told"),
    [(0o644, 0, False), (0o664, 0, True), (0o666, 0, True), (0o644, 1, True), (0o755, 0, False)],
)
def test_a_ca_bundle_that_others_may_write_is_warned_of(
    home: Path, monkeypatch: pytest.MonkeyPatch, mode: int, owner: int, *, told: bool
) -> None:
    """Whoever adds a certificate to it may be any server, and gets the key."""
    bundle = home / "ca.pem"
    bundle.touch()
    bundle.chmod(mode)
    seen_as(bundle, monkeypatch, UID, os.geteuid() + owner)
    found = load(None, {"UPLOADER_FIREWORKS__CA_BUNDLE": str(bundle)}).warnings
    assert (
        any(f"others may write the CA bundle in {bundle}: `chmod" in one for one in found) is told
    )


def test_a_folder_of_certificates_that_others_may_write_is_warned_of(shared: Path) -> None:
    found = load(None, {"UPLOADER_FIREWORKS__CA_BUNDLE": str(shared)}).warnings
    assert any(f"others may write the CA bundle in {shared}" in one for one in found)
