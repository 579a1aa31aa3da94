"""The sandbox's own certificate authority, trusted only by those who were given its file.

Certificates are made by `trustme`, the extra `sandbox-tls`: only rehearsals over TLS need it; the
client never does.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

from uploader.sandbox.folder import DataFolder

_CERTIFICATE, _KEY = ".sandbox-ca.pem", ".sandbox-ca.key"
_NAMES = ("127.0.0.1", "localhost", "::1")


class AcceptedSocket(ssl.SSLSocket):
    """Closed if its peer is gone before the handshake, which Python before 3.13 leaves open."""

    def getpeername(self) -> Any:
        """As of a socket, for which this is the first question about its peer."""
        try:
            return super().getpeername()
        except OSError:
            self.close()
            raise


class Authority:
    """The authority in a data folder, made if there is none yet; `file` is its certificate.

    Raises ValueError without the package that makes certificates, OSError if the folder cannot be
    read or written.
    """

    def __init__(self, folder: DataFolder) -> None:
        try:
            import trustme  # noqa: PLC0415  # an extra
        except ImportError:
            raise ValueError("TLS needs the package trustme: the extra sandbox-tls") from None
        certificate, key = folder.read(_CERTIFICATE), folder.read(_KEY)
        if certificate and key:
            self._authority = trustme.CA.from_pem(certificate, key)
        else:
            self._authority = trustme.CA(organization_name="uploader sandbox")
            folder.write(_KEY, self._authority.private_key_pem.bytes())
            folder.write(_CERTIFICATE, self._authority.cert_pem.bytes())
        self.file: Path = folder.root / _CERTIFICATE

    def server_context(self) -> ssl.SSLContext:
        """For both ports: TLS 1.2 or newer, a certificate for the names of loopback."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.sslsocket_class = AcceptedSocket
        self._authority.issue_cert(*_NAMES).configure_cert(context)
        return context
