"""Where the API listens: a socket, and its address in a file. The server itself comes later.

A port that is taken is a warning and no more: uploading goes on without the API. The web server is
loaded by the first connection, in a thread of its own, so that a worker that nobody asks starts as
fast, and needs as little, as one without an API.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from uploader import files
from uploader.core.addresses import is_loopback
from uploader.core.errors import StoreError, UsageError
from uploader.runtime import Clock
from uploader.service.http.door import ADDRESS_FILE, addresses_of, answers
from uploader.service.http.tokens import Keeper, api_token
from uploader.settings.schema import Settings
from uploader.store.database.drafts import draft_of
from uploader.store.jobs import Jobs
from uploader.threads import spawn

_log = logging.getLogger(__name__)

#: Whoever waits here has been connected to: a queue that is full keeps everybody out.
_BACKLOG = 1024
#: How long shutdown waits for requests in progress.
END_S = 3.0


class Taken(UsageError):
    """The port cannot be listened on."""


def bound(settings: Settings) -> socket.socket:
    """A socket that listens at `api.listen`.

    Raises Taken, and UsageError for an address beyond this machine that is not allowed.
    """
    host, port = settings.api.address
    _check_reach(settings, host)
    certificate(settings)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as problem:
        listener.close()
        raise Taken(
            f"the API cannot listen on {host}:{port}: {problem.strerror}",
            hint="choose another port with api.listen, or `off`",
        ) from None
    return listener


def _check_reach(settings: Settings, host: str) -> None:
    own = settings.api
    if is_loopback(host):
        return
    if not own.allow_remote:
        raise UsageError(
            f"api.listen {host} can be reached from other machines",
            hint="listen on 127.0.0.1, or set api.allow_remote = true and the files for TLS",
        )
    if not (own.tls_cert_file and own.tls_key_file) and not own.behind_proxy:
        raise UsageError(
            f"api.listen {host} would show the token to the network",
            hint="set api.tls_cert_file and api.tls_key_file, or api.behind_proxy = true if"
            " a proxy on this machine does TLS",
        )


def certificate(settings: Settings) -> ssl.SSLContext | None:
    """What the API proves itself with; None if it speaks plain HTTP. Raises UsageError."""
    cert, key = settings.api.tls_cert_file, settings.api.tls_key_file
    if (cert is None) != (key is None):
        raise UsageError(
            "of api.tls_cert_file and api.tls_key_file only one is set", hint="set both, or none"
        )
    if not (cert and key):
        return None
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        for file in (cert, key):
            files.require_file(file)
        tls.load_cert_chain(cert, key, password="")
    except (OSError, ValueError) as problem:  # SSLError is an OSError
        raise UsageError(
            f"api.tls_cert_file {cert} and api.tls_key_file {key} cannot be used:"
            f" {getattr(problem, 'strerror', None) or problem}",
            hint="both are PEM files; the key has no passphrase and belongs to the certificate",
        ) from None
    return tls


@contextlib.contextmanager
def listening(
    by_now: Callable[[], Settings],
    jobs: Jobs,
    clock: Clock,
    turned_s: Callable[[], float | None],
) -> Iterator[None]:
    """The API of a daemon, as long as the context lasts. Raises UsageError, StoreError, OSError."""
    settings = by_now()
    try:
        listener = bound(settings)
    except Taken as taken:
        _log.warning("%s; %s; going on without it", taken.message, taken.hint)
        yield
        return
    keeper = Keeper(api_token(settings.state_dir), clock)
    address = written(listener)
    ending, ended = threading.Event(), threading.Event()
    bell, rung = socket.socketpair()

    def serve() -> None:
        _wait(listener, rung)
        if not ending.is_set():
            try:
                # It loads a web server, and fails if the program was replaced meanwhile.
                from uploader.service.http import server  # noqa: PLC0415

                server.serve(by_now, jobs, clock, keeper, listener, turned_s, rung)
            except Exception:  # noqa: BLE001 - whatever it is, the daemon goes on
                _log.exception("the API has ended; uploading goes on without it")
            finally:
                listener.close()  # or whoever asks would wait for ever
        ended.set()

    with listener, bell, rung, announced(settings.state_dir, address, works=True):
        _log.info("the API listens on %s; `uploader dashboard` opens its page", address)
        spawn("api", serve)
        try:
            yield
        finally:
            ending.set()
            bell.send(b".")
            clock.wait(ended, END_S)


def _wait(*sockets: socket.socket) -> None:
    """Until one of them can be read; `select.select` takes no descriptor above 1,023."""
    with selectors.DefaultSelector() as ready:
        for one in sockets:
            ready.register(one, selectors.EVENT_READ)
        ready.select()


@contextlib.contextmanager
def announced(state_dir: Path, address: str, *, works: bool) -> Iterator[None]:
    """``address`` is a line of STATE_DIR/api.address until a clean exit.

    It is the first line if this process is a worker (``works``).

    A worker and `uploader serve` may share a state folder, so each removes only its own line,
    and a health check, which reads the first, finds the worker.
    """
    others = [one for one in addresses_of(state_dir) if one != address and answers(one)]
    _announce(state_dir, [address, *others] if works else [*others, address])
    try:
        yield
    finally:
        with contextlib.suppress(StoreError):  # as after a kill: until the next start
            _announce(state_dir, [one for one in addresses_of(state_dir) if one != address])


def _announce(state_dir: Path, addresses: Sequence[str]) -> None:
    path = state_dir / ADDRESS_FILE
    if not addresses:
        path.unlink(missing_ok=True)
        return
    with draft_of(path, "".join(f"{one}\n" for one in addresses)) as draft:
        draft.replace(path)


def written(listener: socket.socket) -> str:
    """The address that ``listener`` is bound to, as HOST:PORT."""
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
