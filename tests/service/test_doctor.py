"""The diagnosis: one line per thing, each with its cure, and no secret in it."""

from __future__ import annotations

import errno
import json
import os
import socket
import tarfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import Mock

import pytest

from tests.cli.conftest import Command, home, model, store, template, uploader
from tests.service.conftest import Site
from uploader import wiring
from uploader.core.job import Scope
from uploader.remote import reach
from uploader.runtime import SystemClock
from uploader.sandbox.server import Sandbox
from uploader.service.doctor import bundle, service, setup
from uploader.service.http.door import ADDRESS_FILE
from uploader.settings.load import load
from uploader.store.database.workers import WorkerLock

__all__ = ["home", "model", "store", "template", "uploader"]


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    with Sandbox(data_dir=tmp_path / "box") as made:
        monkeypatch.setenv("FIREWORKS_BASE_URL", made.base_url)
        monkeypatch.setenv("FIREWORKS_API_KEY", made.api_key)
        yield made


def states(answer: str) -> dict[str, str]:
    document = json.loads(answer)
    assert document["schema"] == "uploader.doctor/1"
    assert all({*check} == {"name", "status", "message", "hint"} for check in document["checks"])
    return {check["name"]: check["status"] for check in document["checks"]}


def test_with_a_key_and_a_service_nothing_fails(
    box: Sandbox, store: Path, uploader: Command
) -> None:
    assert store.exists()
    answer = uploader("doctor", "--json")
    found = states(answer.out)
    assert (answer.code, "fail" in found.values()) == (0, False)
    assert found["clock"] == "ok"
    assert {"configuration", "api_key", "account", "clock", "state_folder", "store", "dns"} <= {
        *found
    }
    assert box.api_key not in answer.out


def test_without_a_key_it_fails_and_says_what_helps(
    box: Sandbox, uploader: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert box.base_url
    monkeypatch.delenv("FIREWORKS_API_KEY")
    answer = uploader("doctor")
    assert answer.code == 2
    assert "set the worker's FIREWORKS_API_KEY" in answer.out


def test_a_key_of_another_account_fails(
    box: Sandbox, uploader: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert box.base_url
    monkeypatch.setenv("FIREWORKS_ACCOUNT_ID", "somebody-else")
    assert states(uploader("doctor", "--json").out)["account"] == "fail"


@pytest.mark.parametrize(
    "proxy", ["http://h:9999999", "http://[::1", "http://h:x", "h:0", "http://", "http://:1"]
)
def test_a_proxy_that_is_not_an_address_fails_and_is_not_repeated(
    proxy: str, uploader: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    monkeypatch.setenv("FIREWORKS_API_KEY", "fw_test")
    answer = uploader("doctor", "--json")
    assert (answer.code, states(answer.out)["proxy"]) == (2, "fail")
    (hint,) = (one["hint"] for one in answer.json["checks"] if one["name"] == "proxy")
    assert "HTTPS_PROXY=http://HOST:PORT" in hint


@pytest.mark.parametrize(
    ("variable", "proxy", "told"),
    [
        ("HTTPS_PROXY", "http://user:secret@proxy.example:3128", "http://proxy.example:3128"),
        ("HTTPS_PROXY", "proxy.example:3128", "http://proxy.example:3128"),
        ("ALL_PROXY", "socks5h://proxy.example", "socks5h://proxy.example"),
        ("NO_PROXY", "*", ""),
    ],
)
def test_the_proxy_is_the_one_that_requests_take(
    variable: str, proxy: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv(variable, proxy)
    assert reach.proxy_of("https://api.fireworks.ai") == told


def test_a_service_that_does_not_answer_fails(
    uploader: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIREWORKS_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("FIREWORKS_API_KEY", "fw_test")
    answer = uploader("doctor", "--json")
    found = states(answer.out)
    assert (answer.code, found["ipv4"], found["reachability"]) == (2, "fail", "fail")


def test_a_damaged_store_fails(box: Sandbox, store: Path, uploader: Command) -> None:
    assert box.base_url
    store.write_bytes(b"not a database" * 1000)
    assert states(uploader("doctor", "--json").out)["store"] == "fail"


def test_a_store_in_postgresql_is_not_called_a_file(
    uploader: Command, postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPLOADER_DATABASE_URL", postgresql_url)
    (line,) = [one for one in uploader("doctor").out.splitlines() if one.startswith("store\t")]
    assert "\tok\t" in line
    assert "PostgreSQL" in line
    assert not {"SQLite", "undamaged,"} & {*line.split()}


def test_a_table_that_others_may_write_wants_a_secret(
    uploader: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert "database_secret" not in states(uploader("doctor", "--json").out)
    monkeypatch.setenv("UPLOADER_DATABASE_URL", "postgresql://u@127.0.0.1:9/d")
    assert states(uploader("doctor", "--json").out)["database_secret"] == "warn"
    monkeypatch.setenv("UPLOADER_DATABASE_SECRET_FILE", str(tmp_path / "none"))
    assert states(uploader("doctor", "--json").out)["database_secret"] == "fail"
    file = tmp_path / "secret"
    file.write_text("5" * 64)
    file.chmod(0o600)
    monkeypatch.setenv("UPLOADER_DATABASE_SECRET_FILE", str(file))
    assert states(uploader("doctor", "--json").out)["database_secret"] == "ok"


def test_the_way_to_a_job_table_on_another_machine_is_warned_of(
    uploader: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PGSSLMODE", raising=False)
    far = "postgresql://u@192.0.2.1/d?connect_timeout=1"
    for url, warned in ((far, True), (f"{far}&sslmode=require", False)):
        monkeypatch.setenv("UPLOADER_DATABASE_URL", url)
        assert [check.status for check in setup._way(load())] == ["warn"] * warned
        told = uploader("config", "check")
        assert (told.code, "sslmode is prefer" in told.err) == (0, warned)


def test_jobs_without_a_worker_fail(box: Sandbox, model: Path, uploader: Command) -> None:
    assert box.base_url
    assert uploader("enqueue", model).code == 0
    assert states(uploader("doctor", "--json").out)["worker"] == "fail"


@pytest.mark.parametrize(
    ("scope", "worker"),
    [
        (Scope(), "ok"),
        (Scope(only=frozenset({1})), "warn"),
        (Scope("https://elsewhere.example"), "fail"),
        (Scope(only=frozenset({7})), "fail"),
    ],
)
def test_only_a_worker_that_takes_jobs_from_here_counts(
    box: Sandbox, store: Path, model: Path, uploader: Command, scope: Scope, worker: str
) -> None:
    assert box.base_url
    assert uploader("enqueue", model).code == 0
    with WorkerLock(store.parent, scope):
        assert states(uploader("doctor", "--json").out)["worker"] == worker


def test_a_job_with_a_seal_wants_the_secret_here_and_at_a_worker(
    box: Sandbox,
    store: Path,
    model: Path,
    uploader: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert box.base_url
    file = tmp_path / "secret"
    file.write_text("5" * 64)
    file.chmod(0o600)
    monkeypatch.setenv("UPLOADER_DATABASE_SECRET_FILE", str(file))
    assert uploader("enqueue", model).code == 0
    with WorkerLock(store.parent, Scope(secret=False)):
        found = states(uploader("doctor", "--json").out)
        assert (found.get("database_secret"), found["worker"]) == (None, "fail")
        monkeypatch.delenv("UPLOADER_DATABASE_SECRET_FILE")
        found = states(uploader("doctor", "--json").out)
        assert (found["database_secret"], found["worker"]) == ("fail", "ok")


def test_jobs_for_elsewhere_wait_for_no_worker_of_here(
    box: Sandbox, store: Path, model: Path, uploader: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIREWORKS_BASE_URL", "https://elsewhere.example")
    assert uploader("enqueue", model).code == 0
    monkeypatch.setenv("FIREWORKS_BASE_URL", box.base_url)
    with WorkerLock(store.parent, Scope("https://elsewhere.example")):
        assert states(uploader("doctor", "--json").out)["worker"] == "warn"


def test_a_worker_whose_api_does_not_listen_is_told(
    box: Sandbox, store: Path, uploader: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when another user's daemon has the port; `uploader dashboard` finds no page then."""
    assert box.base_url
    assert "api" not in states(uploader("doctor", "--json").out)
    with WorkerLock(store.parent):
        assert states(uploader("doctor", "--json").out)["api"] == "warn"
        monkeypatch.setenv("UPLOADER_API__LISTEN", "off")
        assert "api" not in states(uploader("doctor", "--json").out)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        (store.parent / ADDRESS_FILE).write_text(address)
        found = uploader("doctor", "--json").out
        assert states(found)["api"] == "warn", "another program listens there"
        assert not (store.parent / "api.token").exists(), "doctor changes nothing"


def test_an_api_that_proves_to_be_ours_is_told(site: Site) -> None:
    (check,) = setup._api(site.settings, running=True)
    assert (check.status, check.message) == ("ok", f"listens on {site.address}")
    (site.settings.state_dir / "api.token").chmod(0o644)
    (check,) = setup._api(site.settings, running=True)
    assert check.status == "warn"
    assert "others may read" in check.message


@pytest.mark.parametrize(("off_s", "status"), [(1, "ok"), (60, "warn"), (900, "fail")])
def test_a_clock_that_is_off_is_told(
    monkeypatch: pytest.MonkeyPatch, off_s: int, status: str, home: Path
) -> None:
    theirs = datetime.now(UTC) + timedelta(seconds=off_s)
    monkeypatch.setattr(wiring, "server_time", lambda _: theirs)
    assert home
    assert service._clock(load()).status == status


def test_the_bundle_has_no_secret_and_lists_what_is_in_it(
    box: Sandbox, model: Path, uploader: Command, home: Path
) -> None:
    assert uploader("enqueue", model).code == 0
    file = home / "bundle.tgz"
    answer = uploader("doctor", "--bundle", file)
    with tarfile.open(file) as archive:
        names = [entry.name for entry in archive]
        texts = [(archive.extractfile(entry) or file.open("rb")).read() for entry in archive]
    assert {name.rpartition("/")[2] for name in names} == {
        "doctor.json", "settings.txt", "jobs.json", "events.jsonl",
    }  # fmt: skip
    assert all(name.rpartition("/")[2] in answer.err for name in names)
    assert box.api_key.encode() not in b"".join(texts)
    assert file.stat().st_mode & 0o077 == 0
    again = uploader("doctor", "--bundle", file)
    assert (again.code, "cannot be written" in again.err) == (2, True)


def test_a_disk_that_is_full_leaves_no_half_of_a_bundle(
    uploader: Command, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = Mock(side_effect=OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    monkeypatch.setattr(tarfile.TarFile, "addfile", full)
    answer = uploader("doctor", "--bundle", home / "bundle.tgz")
    assert (answer.code, "No space left" in answer.err) == (2, True)
    assert not (home / "bundle.tgz").exists()


def test_nor_does_an_interruption(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tarfile.TarFile, "addfile", Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        bundle.write_bundle(home / "bundle.tgz", load(), {}, SystemClock())
    assert not (home / "bundle.tgz").exists()


def test_of_countless_files_a_bundle_has_some(
    model: Path, uploader: Command, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle, "_MAX_FILES", 3)
    for number in range(3):
        assert uploader("enqueue", model, "--model-id", f"model-{number}").code == 0
    uploader("doctor", "--bundle", home / "bundle.tgz")
    with tarfile.open(home / "bundle.tgz") as archive:
        content = archive.extractfile("uploader-bundle/jobs.json")
        assert content
        found = {job["id"]: len(job["files"]) for job in json.load(content)}
    assert found == {3: 3, 2: 0, 1: 0}
