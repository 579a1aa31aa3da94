"""What a sandbox remembers when it is started again on the same folder and ports."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import requests

from uploader.sandbox import state
from uploader.sandbox.server import Sandbox, write_private
from uploader.sandbox.state import StateFile
from uploader.sandbox.world import Model, World

if TYPE_CHECKING:
    from tests.sandbox.conftest import Remote

GRANULE = 256 * 1024
DEADLINE_S = 60.0
Start = Callable[..., "Remote"]


@pytest.fixture
def start(tmp_path: Path, over: type[Remote]) -> Iterator[Start]:
    """Start a sandbox that keeps its state; an earlier one has ended by then."""
    with ExitStack() as stack:

        def build(**options: Any) -> Remote:
            stack.close()
            http = stack.enter_context(requests.Session())
            http.trust_env = False
            box = stack.enter_context(Sandbox(data_dir=tmp_path / "data", keep=True, **options))
            return over(box.world, http)

        yield build


def ports(remote: Remote) -> dict[str, int]:
    urls = {"port": remote.world.base_url, "storage_port": remote.world.storage_url}
    return {name: urlsplit(url).port or 0 for name, url in urls.items()}


def test_an_upload_goes_on_after_a_restart(start: Start, content: bytes, tmp_path: Path) -> None:
    remote = start()
    url, size = remote.url(len(content)), len(content)
    uri = remote.start(url, size).headers["Location"]
    remote.put(uri, content[:GRANULE], 0, size)
    key, before = remote.world.config.api_key, remote.world.report()
    remote = start(**ports(remote))
    assert remote.world.config.api_key == key
    assert remote.world.report() == before
    assert remote.offset(uri) == GRANULE
    assert remote.put(uri, content[GRANULE:], GRANULE, size).status_code == 200
    assert remote.start(url, size).status_code == 201  # the signed URL is still good
    remote = start(**ports(remote))
    assert remote.query(uri).headers["x-goog-stored-content-length"] == str(size)
    assert (tmp_path / "data/sandbox/m/f").read_bytes() == content
    for _ in range(2):
        assert remote.validate().status_code == 400
    assert remote.validate().ok
    assert start().call("GET", "/models/m").json()["state"] == "READY"


def test_no_exchange_about_a_file_copies_the_models(
    start: Start, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model names all its files: for each of 10,000 that took minutes of a processor."""
    remote = start()
    uri = remote.start(remote.url(len(content)), len(content)).headers["Location"]
    copied: list[object] = []

    def counted(one: Any) -> dict[str, Any]:
        copied.append(one)
        return asdict(one)

    monkeypatch.setattr(state, "asdict", counted)
    assert remote.put(uri, content[:GRANULE], 0, len(content)).status_code == 308
    assert not any(isinstance(one, Model) for one in copied)


def test_a_session_that_is_gone_stays_gone(start: Start) -> None:
    remote = start()
    uri = remote.session(10)
    remote.http.delete(uri, headers={"Content-Length": "0"})
    assert start(**ports(remote)).query(uri).status_code == 499


def test_a_switch_that_is_given_wins_over_what_was_kept(start: Start) -> None:
    start()
    assert start(api_key="fw_another_key").world.config.api_key == "fw_another_key"


def test_nothing_is_kept_unless_asked_for(tmp_path: Path) -> None:
    with Sandbox(data_dir=tmp_path) as box:
        key = box.api_key
    with Sandbox(data_dir=tmp_path) as box:
        assert box.api_key != key
    assert list(tmp_path.iterdir()) == []


def test_two_sandboxes_do_not_share_a_folder(start: Start, tmp_path: Path) -> None:
    start()
    with pytest.raises(ValueError, match="another sandbox is using"):
        Sandbox(data_dir=tmp_path / "data", keep=True)


def test_a_port_that_is_taken_leaves_the_folder_to_the_next(start: Start, tmp_path: Path) -> None:
    remote = start()
    with pytest.raises(OSError, match="in use"):
        Sandbox(data_dir=tmp_path / "other", keep=True, port=ports(remote)["port"])
    with Sandbox(data_dir=tmp_path / "other", keep=True):
        pass


@pytest.mark.parametrize(
    "content",
    ["{", "[]", "{}", '{"version": 2}', '{"version": 1, "api_key": 7}', "[" * 100_000, "\udc80"],
)
def test_a_malformed_state_is_reported(tmp_path: Path, content: str) -> None:
    (tmp_path / ".sandbox.json").write_text(content, errors="surrogateescape")
    with pytest.raises(ValueError, match="not a state of the sandbox"):
        Sandbox(data_dir=tmp_path, keep=True)


def test_a_state_cannot_lead_out_of_the_folder(start: Start, tmp_path: Path) -> None:
    start().session(10)
    file = tmp_path / "data/.sandbox.json"
    start()
    state = json.loads(file.read_text())
    for session in state["sessions"].values():
        session["part"] = "../outside"
    text = json.dumps(state)
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy/.sandbox.json").write_text(text)
    with pytest.raises(ValueError, match="not a state of the sandbox"):
        Sandbox(data_dir=tmp_path / "copy", keep=True)
    assert not (tmp_path / "outside").exists()


@contextmanager
def process(*options: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    command = [sys.executable, "-m", "uploader.sandbox.server", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as started:
        try:
            assert started.stdout
            yield started, json.loads(started.stdout.readline())
        finally:
            started.kill()


def test_a_killed_sandbox_goes_on_as_if_nothing_had_been(
    tmp_path: Path, content: bytes, over: type[Remote]
) -> None:
    env = tmp_path / "env"
    options = ["--data-dir", str(tmp_path / "data"), "--env", str(env)]
    size = len(content)
    with requests.Session() as http:
        http.trust_env = False
        with process(*options) as (started, told):
            remote = over(None, http)  # type: ignore[arg-type]  # it is in another process
            headers = {"Authorization": f"Bearer {told['api_key']}"}
            account = f"{told['base_url']}/v1/accounts/sandbox/models"
            details = {"checkpointFormat": "HUGGINGFACE", "huggingfaceFiles": ["f"]}
            model = {"kind": "HF_BASE_MODEL", "baseModelDetails": details}
            body = {"modelId": "m", "model": model}
            assert http.post(account, json=body, headers=headers).ok
            wish = {"filenameToSize": {"f": size}, "enableResumableUpload": True}
            urls = http.post(f"{account}/m:getUploadEndpoint", json=wish, headers=headers).json()
            uri = remote.start(urls["filenameToSignedUrls"]["f"], size).headers["Location"]
            remote.put(uri, content[:GRANULE], 0, size)
            started.send_signal(signal.SIGKILL)
            started.wait(DEADLINE_S)
        same = ["--port", "--storage-port"]
        for name, url in zip(same, (told["base_url"], told["storage_url"]), strict=True):
            options += [name, str(urlsplit(url).port)]
        with process(*options) as (_, again):
            assert again == told
            assert remote.offset(uri) == GRANULE
            assert remote.put(uri, content[GRANULE:], GRANULE, size).status_code == 200
    assert (tmp_path / "data/sandbox/m/f").read_bytes() == content
    assert stat.S_IMODE(env.stat().st_mode) == 0o600
    assert env.read_text() == (
        f"export FIREWORKS_BASE_URL={told['base_url']}\n"
        f"export FIREWORKS_API_KEY={told['api_key']}\n"
        "export FIREWORKS_ACCOUNT_ID=sandbox\n"
        "export UPLOADER_VALIDATION__POLL_INTERVAL=2s\n"
    )


def test_nobody_can_be_in_the_way_of_an_env_file(tmp_path: Path) -> None:
    """In a folder that others may write, a name that can be guessed is taken before we come."""
    for name in ("new", f"{os.getpid()}.new"):
        (tmp_path / f"sandbox.env.{name}").symlink_to("/nowhere")
    write_private(tmp_path / "sandbox.env", "first")
    write_private(tmp_path / "sandbox.env", "second")
    assert (tmp_path / "sandbox.env").read_text() == "second"
    assert len(list(tmp_path.iterdir())) == 3
    with pytest.raises(OSError, match="directory"):
        write_private(tmp_path, "text")
    assert [one for one in tmp_path.parent.iterdir() if one.name.endswith(".new")] == []


def test_an_env_file_replaces_what_was_there_and_follows_no_link(tmp_path: Path) -> None:
    victim, env = tmp_path / "victim", tmp_path / "env"
    victim.write_text("mine")
    env.symlink_to(victim)
    with process("--env", str(env)):
        assert not env.is_symlink()
        assert stat.S_IMODE(env.stat().st_mode) == 0o600
    assert victim.read_text() == "mine"


def test_an_exchange_writes_what_it_changed_and_not_the_whole_world(
    start: Start, tmp_path: Path
) -> None:
    remote = start()
    changes = tmp_path / "data/.sandbox.changes"
    sizes = []
    for _ in range(60):
        remote.session(10)
        sizes.append(changes.stat().st_size)
    grown = [after - before for before, after in pairwise(sizes)]
    assert max(grown[30:]) <= max(grown[:30]) + 64


def test_a_line_of_changes_that_is_torn_never_counted(start: Start, tmp_path: Path) -> None:
    remote = start()
    uri = remote.session(10)
    changes = tmp_path / "data/.sandbox.changes"
    kept = changes.read_bytes()
    remote = start(**ports(remote))
    changes.write_bytes(kept + b'{"objects": {"a')
    assert start(**ports(remote)).query(uri).status_code == 308


def test_what_strangers_are_refused_for_is_short_and_written_once(tmp_path: Path) -> None:
    """Whoever sends nonsense makes no later exchange slow."""
    world = World(data_dir=tmp_path / "data")
    kept = StateFile(world)
    changes = world.folder.root / ".sandbox.changes"
    sizes = [0]
    for _ in range(20):
        world.ledger.refuse("x" * 60_000)
        kept.save()
    for _ in range(20):
        kept.save()
        sizes.append(changes.stat().st_size)
    assert sizes[-1] < 20 * 20 * 400
    assert max(after - before for before, after in pairwise(sizes[1:])) < 1000
    kept.close()
    again = World(data_dir=tmp_path / "data")
    StateFile(again).close()
    assert [len(reason) for reason in again.report()["refused"]] == [200] * 20


def test_the_changes_are_folded_into_the_state_while_the_sandbox_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "_COMPACT_BYTES", 1000)
    world = World(data_dir=tmp_path / "data")
    kept = StateFile(world)
    for _ in range(200):
        world.ledger.count("creates")
        kept.save()
        sizes = [
            (world.folder.root / f".sandbox.{end}").stat().st_size for end in ("changes", "json")
        ]
        assert sizes[0] <= 5 * sizes[1] + 1000
    shutil.copytree(world.folder.root, tmp_path / "as if killed")
    kept.close()
    again = World(data_dir=tmp_path / "as if killed")
    StateFile(again).close()
    assert again.report()["creates"] == 200
