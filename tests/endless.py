"""A TLS server that, once a request has come, sends records without data, and never ends."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import socket
import ssl
import struct
import threading
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

#: A session ticket of one byte (RFC 8446 §4.6.1), as often as a record can hold it.
_TICKET = b"\x04\x00\x00\x0e" + bytes(9) + b"\x00\x01x\x00\x00"
_RECORD = _TICKET * (16384 // len(_TICKET)) + b"\x16"  # its kind: a handshake's
_DEADLINE_S = 60.0


class Endless:
    """Listens until it is closed; ``asked`` is set once somebody waits for an answer."""

    def __init__(self, context: ssl.SSLContext, folder: Path) -> None:
        self.asked = threading.Event()
        self.sent_bytes = 0
        self._keys = folder / "tls.keys"
        self._context = context
        self._context.minimum_version = ssl.TLSVersion.TLSv1_3
        self._context.num_tickets = 0  # so the number of our first record is known
        self._context.keylog_filename = str(self._keys)
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def base(self) -> str:
        return f"https://127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._answer, args=[connection], daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(_DEADLINE_S)
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = self._context.wrap_bio(incoming, outgoing, server_side=True)
            said, heard = False, b""
            while not heard:
                try:
                    if said:
                        heard = tls.read()
                    else:
                        tls.do_handshake()
                        said = True
                except ssl.SSLWantReadError:
                    connection.sendall(outgoing.read())
                    incoming.write(connection.recv(65536))
            self._flood(connection, tls)

    def _flood(self, connection: socket.socket, tls: ssl.SSLObject) -> None:
        suite = (tls.cipher() or ("",))[0]
        secret = self._secret()
        kind = "sha384" if suite.endswith("SHA384") else "sha256"
        key = _expand(secret, b"key", 16 if "AES_128" in suite else 32, kind)
        start = int.from_bytes(_expand(secret, b"iv", 12, kind))
        seal = (ChaCha20Poly1305 if "CHACHA" in suite else AESGCM)(key)
        head = b"\x17\x03\x03" + struct.pack(">H", len(_RECORD) + 16)
        number = 0
        while True:
            nonce = (start ^ number).to_bytes(12)
            connection.sendall(head + seal.encrypt(nonce, _RECORD, head))
            self.sent_bytes += len(_RECORD)
            number += 1
            self.asked.set()

    def _secret(self) -> bytes:
        """What the newest connection's records from the server are encrypted with."""
        lines = [line.split() for line in self._keys.read_text().splitlines()]
        found = [words[2] for words in lines if words[0] == "SERVER_TRAFFIC_SECRET_0"]
        return bytes.fromhex(found[-1])


def _expand(secret: bytes, label: bytes, size: int, kind: str) -> bytes:
    """HKDF-Expand-Label of RFC 8446 §7.1, of one block."""
    label = b"tls13 " + label
    asked = struct.pack(">H", size) + bytes([len(label)]) + label + b"\x00"
    assert size <= hashlib.new(kind).digest_size
    return hmac.digest(secret, asked + b"\x01", kind)[:size]
