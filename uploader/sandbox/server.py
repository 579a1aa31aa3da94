"""The sandbox on real sockets, loopback only: `python -m uploader.sandbox.server`."""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shlex
import signal
import sys
import threading
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from uploader.sandbox import control, storage
from uploader.sandbox.kinds import help_text
from uploader.sandbox.script import read_script
from uploader.sandbox.sockets import Server
from uploader.sandbox.state import StateFile
from uploader.sandbox.tls import Authority
from uploader.sandbox.world import World

_POLL_S = 0.01


class Sandbox:
    """Both services in threads of this process, for as long as the context lasts.

    `port` is the control port and `storage_port` the other one (0 = any free one). With `tls`, both
    use TLS, and `ca_file` is the file of a certificate authority made for this sandbox. With
    `keep`, the state is taken from the data folder and kept in it. The others are World's:
    `data_dir`, `faults`, `seed`, `now`, `sleep` and the switches of Config.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        storage_port: int = 0,
        tls: bool = False,
        keep: bool = False,
        **world_options: Any,
    ) -> None:
        self.world = world = World(**world_options)
        with ExitStack() as opened:
            state = StateFile(world, fixed=world_options.keys()) if keep else None
            if state:
                opened.callback(state.close)
            authority = Authority(world.folder) if tls else None
            context = authority.server_context() if authority else None
            roles = (
                (port, control.route, lambda: world.base_url),
                (storage_port, storage.route, lambda: world.storage_url),
            )
            self._servers = [opened.enter_context(Server(world, *role, context)) for role in roles]
            self._opened = opened.pop_all()
        self.ca_file = authority.file if authority else None
        for server in self._servers:
            server.after = state.save if state else server.after
        world.base_url, world.storage_url = (server.url for server in self._servers)
        self._threads = [
            threading.Thread(target=server.serve_forever, args=(_POLL_S,), daemon=True)
            for server in self._servers
        ]

    @property
    def base_url(self) -> str:
        """The address of the control plane, for FIREWORKS_BASE_URL."""
        return self.world.base_url

    @property
    def storage_url(self) -> str:
        """The address of the storage service, to which signed URLs lead."""
        return self.world.storage_url

    @property
    def api_key(self) -> str:
        """The one key that the control plane accepts."""
        return self.world.config.api_key

    @property
    def account_id(self) -> str:
        """The account that the key belongs to."""
        return self.world.config.account_id

    @property
    def control_token(self) -> str:
        """The bearer token for `/_sandbox/`."""
        return self.world.doors.control_token

    def report(self) -> dict[str, Any]:
        """The counters of World.report()."""
        return self.world.report()

    def facts(self) -> dict[str, str]:
        """What a client has to know."""
        names = ("base_url", "storage_url", "api_key", "account_id", "control_token")
        known = {name: str(getattr(self, name)) for name in names}
        return known | ({"ca_file": str(self.ca_file)} if self.ca_file else {})

    def exports(self) -> str:
        """Variables for a shell, so that `uploader` uses this sandbox."""
        variables = {
            "FIREWORKS_BASE_URL": self.base_url,
            "FIREWORKS_API_KEY": self.api_key,
            "FIREWORKS_ACCOUNT_ID": self.account_id,
            # Twice a new model is not READY yet: at the default interval that takes a minute.
            "UPLOADER_VALIDATION__POLL_INTERVAL": "2s",
        }
        if self.ca_file:
            variables["REQUESTS_CA_BUNDLE"] = str(self.ca_file)
        return exports(variables)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.world.pace.stopping.set()
        for server, thread in zip(self._servers, self._threads, strict=True):
            server.shutdown()
            thread.join()
            server.disconnect()
        self._opened.close()


def serve(  # noqa: PLR0913  # one parameter per option of the command
    port: int = 0,
    data_dir: Path | str | None = None,
    faults: Iterable[dict[str, Any]] | None = None,
    seed: int = 0,
    *,
    storage_port: int = 0,
    tls: bool = False,
    env_file: Path | None = None,
    **switches: Any,
) -> None:
    """Serve until SIGINT or SIGTERM; call it in the main thread.

    Prints one line of JSON when it listens: base_url, storage_url, api_key, account_id,
    control_token, and over TLS ca_file. With `data_dir` the state is kept there for the next start.
    `env_file` gets variables for a shell, so that `uploader` uses this sandbox. Raises OSError if a
    port is taken, ScriptError or ValueError for wrong options.
    """
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    world_options = {"data_dir": data_dir, "faults": faults, "seed": seed, **switches}
    ports = {"port": port, "storage_port": storage_port}
    with Sandbox(**ports, tls=tls, keep=data_dir is not None, **world_options) as box:
        if env_file is not None:
            write_private(env_file, box.exports())
        sys.stdout.write(json.dumps(box.facts()) + "\n")
        sys.stdout.flush()
        ended.wait()


def write_private(path: Path, text: str) -> None:
    """Write a file that only its user may read; an existing file is replaced, not written to."""
    # Nobody else who may write into the folder can be there first, and so keep us from it.
    scratch = path.with_name(f"{path.name}.{secrets.token_hex(8)}.new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(scratch, flags, 0o600), "w") as file:
        file.write(text)
    try:
        scratch.replace(path)
    except OSError:
        scratch.unlink()
        raise


def exports(variables: Mapping[str, str]) -> str:
    """Variables as lines for a shell."""
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())


def main() -> None:
    """The command line of `python -m uploader.sandbox.server`."""
    parser = argparse.ArgumentParser(prog="uploader.sandbox", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="control port; 0 = any free one")
    parser.add_argument("--storage-port", type=int, default=0, help="0 = any free one")
    parser.add_argument("--data-dir", type=Path, help="where objects appear as files")
    parser.add_argument("--faults", help="a file with a fault script, the JSON itself, or `help`")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tls", action="store_true", help="use TLS")
    parser.add_argument("--env", type=Path, help="a file for lines that a shell can read")
    options = parser.parse_args()
    if options.faults == "help":
        parser.exit(message=help_text())
    try:
        serve(
            options.port,
            options.data_dir,
            read_script(options.faults),
            options.seed,
            storage_port=options.storage_port,
            tls=options.tls,
            env_file=options.env,
        )
    except (OSError, ValueError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
