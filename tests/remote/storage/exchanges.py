"""Sessions of a scripted server, and what is sent to them."""

from __future__ import annotations

import socket

from tests.remote.scripted import OF_STORAGE, Reply, Seen, Server
from uploader.core.redact import SessionUri
from uploader.core.resumable import GRANULE, UploadUrl, read_url
from uploader.remote.sockets import SocketAdapter

SIZE = 3 * GRANULE
CONTENT = bytes(range(256)) * (SIZE // 256)


def session(server: Server) -> SessionUri:
    return SessionUri(f"{server.base}/bucket/object?upload_id=SECRET")


def start_url(server: Server, headers: str = "content-type;host;x-goog-resumable") -> UploadUrl:
    query = f"X-Goog-SignedHeaders={headers}&X-Goog-Expires=3600&X-Goog-Signature=SECRET"
    return read_url(f"{server.base}/bucket/a%20b?{query}")


def partial(held: int) -> Reply:
    return Reply(308, {"Range": f"bytes=0-{held - 1}"} if held else {})


def stored(status: int = 200) -> Reply:
    """A success of the storage service that describes nothing."""
    return Reply(status, OF_STORAGE)


def only(server: Server) -> Seen:
    assert len(server.seen) == 1
    return server.seen[0]


def small_buffers(adapter: SocketAdapter) -> None:
    """So that a slow reader is felt at once instead of after a megabyte in the kernel."""
    options = [(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)]
    adapter.poolmanager.connection_pool_kw["socket_options"] = options
