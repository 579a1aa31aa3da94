"""The service as a real `systemd --user` runs it, in a mount namespace of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.conftest import MIB, World, until, world

__all__ = ["world"]

pytestmark = pytest.mark.long

SYSTEMD = shutil.which("systemd", path="/lib/systemd:/usr/lib/systemd")
_UNSHARED = ["unshare", "--mount", "--propagation", "shared"]
#: What a machine has that was booted with systemd, and where credentials are mounted.
_BOOTED = "mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system && exec"
#: Each manager has a group of its own: another one that runs these tests ends all processes of
#: the group of its `uploader.service`.
_GROUPS = [Path("/sys/fs/cgroup", name) for name in ("", "systemd", "unified")]
_JOINING = "for group in {}; do echo $$ >$group/cgroup.procs; done && "
QUICK = "[Service]\nWatchdogSec=4\nRestartSec=100ms\n"


class Manager:
    """A service manager that has just been started, and its one service."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.runtime = world.folder / "run"
        self.runtime.mkdir(0o700)
        foreign = ("UPLOADER_", "FIREWORKS_")
        own = {k: v for k, v in world.environment.items() if not k.startswith(foreign)}
        reach = {
            "XDG_RUNTIME_DIR": str(self.runtime),
            "DBUS_SESSION_BUS_ADDRESS": f"unix:path={self.runtime}/bus",
        }
        world.environment.update(reach)
        self.groups = [
            root / f"uploader-{world.folder.name}-{os.getpid()}"
            for root in _GROUPS
            if os.access(root / "cgroup.procs", os.W_OK)
        ]
        for group in self.groups:
            group.mkdir()
        joining = _JOINING.format(" ".join(map(str, self.groups))) if self.groups else ""
        self.process = subprocess.Popen(
            [*_UNSHARED, "sh", "-c", f"{joining}{_BOOTED} {SYSTEMD} --user"],
            env=own | reach,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.within = ["nsenter", f"--target={self.process.pid}", "--mount", "--"]
        world.program = [*self.within, *world.program]

    def ask(self, *words: str) -> str:
        done = subprocess.run(
            [*self.within, "systemctl", "--user", *words],
            env=self.world.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return done.stdout.strip()

    def fact(self, name: str) -> str:
        return self.ask("show", "uploader.service", f"--property={name}", "--value")

    def restarted(self, times: int) -> bool:
        return self.fact("NRestarts") == str(times) and self.fact("ActiveState") == "active"

    def signal_worker(self, number: signal.Signals) -> None:
        os.kill(int(self.fact("MainPID")), number)

    def drop_in(self, text: str) -> None:
        folder = self.world.folder / "config/systemd/user/uploader.service.d"
        folder.mkdir(parents=True)
        (folder / "test.conf").write_text(text)

    def end(self) -> None:
        self.ask("stop", "uploader.service")
        self.ask("exit")
        self.process.terminate()
        self.process.wait(60)
        for group in self.groups:
            for below in sorted(group.rglob("*/"), reverse=True):
                below.rmdir()
            group.rmdir()


@pytest.fixture
def manager(world: World) -> Iterator[Manager]:
    if SYSTEMD is None or not shutil.which("nsenter"):
        pytest.skip("no systemd")
    if subprocess.run([*_UNSHARED, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no mount namespace may be made here")
    manager = Manager(world)
    try:
        until(lambda: manager.ask("is-system-running") in {"running", "degraded"}, 60)
        yield manager
    finally:
        manager.end()


def configure(world: World) -> None:
    folder = world.folder / "config/uploader"
    folder.mkdir(parents=True, mode=0o700)
    (folder / "config.toml").write_text(
        f'[fireworks]\nbase_url = "{world.box.base_url}"\naccount_id = "{world.box.account_id}"\n'
        '[validation]\npoll_interval = "200ms"\n[transfer]\nbandwidth_limit = "8MB/s"\n'
    )
    (folder / "api-key").touch(0o600)
    (folder / "api-key").write_text(world.box.api_key)


def test_an_installed_service_goes_on_after_a_kill_and_after_a_hang(manager: Manager) -> None:
    world = manager.world
    configure(world)
    manager.drop_in(QUICK)
    world.uploader("service", "install", "--user")
    until(lambda: manager.fact("ActiveState") == "active")
    assert manager.fact("StatusText") == "waiting for jobs"

    world.uploader("enqueue", world.model("model", weights_bin=40 * MIB), "--no-preflight")
    until(lambda: world.job(1)["bytes_confirmed"] > 0 or world.job(1)["bytes_sent_once"] > MIB)
    manager.signal_worker(signal.SIGKILL)
    until(lambda: manager.restarted(1))
    manager.ask("reload", "uploader.service")
    manager.signal_worker(signal.SIGSTOP)  # a loop that hangs
    until(lambda: manager.restarted(2))
    world.uploader("wait", "1")
    world.assert_kept_every_promise()

    world.uploader("service", "uninstall", "--user")
    assert manager.fact("ActiveState") == "inactive"
    assert manager.fact("LoadState") == "not-found"


def test_an_installed_service_goes_on_with_a_new_key(manager: Manager) -> None:
    world = manager.world
    configure(world)
    key = world.folder / "config/uploader/api-key"
    right = key.read_text()
    key.write_text("fw_" + "0" * 20)
    world.uploader("service", "install", "--user")
    world.uploader("enqueue", world.model("model", weights_bin=MIB), "--no-preflight")
    until(lambda: world.job(1)["status"] == "blocked")

    key.write_text(right)
    until(lambda: world.job(1)["status"] == "done", 120)  # the key is read again every minute
