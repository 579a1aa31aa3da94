"""Which authorities may sign a server's certificate."""

from __future__ import annotations

import functools
import ssl
import threading
from pathlib import Path

from requests.utils import DEFAULT_CA_BUNDLE_PATH

from uploader import files
from uploader.core.errors import UsageError

#: Ten times as long as Mozilla's.
_MAX_BYTES = 4_000_000
#: A server that wants to agree again could do so in the midst of a send.
_OPTIONS = ssl.OP_NO_RENEGOTIATION
_ONE_AT_A_TIME = threading.Lock()


def context(bundle: Path | None) -> ssl.SSLContext:
    """The authorities in ``bundle`` alone; without one, the machine's and Mozilla's.

    A bundle is a file, a pipe, or a folder as OpenSSL hashes it. Made once per process: reading the
    authorities takes longer than a request. Raises UsageError for a bundle that cannot be used.
    """
    with _ONE_AT_A_TIME:  # the first connections of several files need it at once
        return _made(bundle)


@functools.cache
def _made(bundle: Path | None) -> ssl.SSLContext:
    if bundle is None:
        made = ssl.create_default_context(cafile=DEFAULT_CA_BUNDLE_PATH)
        made.load_default_certs()
        made.options |= _OPTIONS
        return made
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.options |= _OPTIONS
    try:
        if bundle.is_dir():
            made.load_verify_locations(capath=bundle)
        elif bundle.is_fifo():
            text, _ = files.read(bundle, _MAX_BYTES, pipe=True)
            made.load_verify_locations(cadata=text.decode("ascii", "ignore"))
        else:
            files.require_file(bundle)
            made.load_verify_locations(cafile=bundle)
    except (OSError, ValueError) as problem:  # ssl.SSLError is an OSError
        odd = isinstance(problem, ssl.SSLError) or not isinstance(problem, OSError)
        why = "it contains no certificate" if odd else getattr(problem, "strerror", None)
        raise UsageError(
            f"fireworks.ca_bundle cannot be {bundle}: {why}",
            hint="give a file of PEM certificates; REQUESTS_CA_BUNDLE and SSL_CERT_FILE set it too",
        ) from None
    return made
