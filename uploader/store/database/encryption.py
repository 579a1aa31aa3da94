"""Could others on the way read what is said to PostgreSQL?"""

from __future__ import annotations

from sqlalchemy import URL
from sqlalchemy.exc import ArgumentError

from uploader.core.addresses import is_loopback
from uploader.core.redact import MASK

#: What `sslmode` may be for libpq to send nothing in the clear (libpq, "SSL Support"). Its default
#: is `prefer`: TLS, or none if whoever answers says that there is none.
_ENCRYPTED = ("require", "verify-ca", "verify-full")
_IN_THE_CLEAR = ("disable", "allow", "prefer")


def doubts(url: URL) -> str:
    """A warning if the database is on another machine and TLS is not asked for; else empty.

    ``url`` has the name of the driver. What it leaves out is libpq's: from the environment
    (`PGSSLMODE`, `PGHOST`), or a default. Empty, too, if there is a service file, or no driver.
    """
    try:
        from psycopg import pq  # noqa: PLC0415 - an extra

        given = url.get_dialect()().create_connect_args(url)[1]
    except (ImportError, ArgumentError):  # whoever opens it says so
        return ""
    usual = {one.keyword.decode(): (one.val or b"").decode() for one in pq.Conninfo.get_defaults()}
    # What is written twice is no text; libpq will refuse it.
    asked = {**usual, **{name: str(value) for name, value in given.items()}}
    hosts = asked["hostaddr"] or asked["host"]
    if asked["service"] or all(_is_here(host) for host in hosts.split(",")):
        return ""
    mode = asked["sslmode"]
    asks = mode in _ENCRYPTED or asked["sslrootcert"] == "system"  # then no weaker mode is allowed
    if asks or asked["gssencmode"] == "require":
        return ""
    shown = mode if mode in _IN_THE_CLEAR else MASK
    return f"sslmode is {shown}: what is sent to the database may be read on the way"


def _is_here(host: str) -> bool:
    """Empty, a folder or an abstract name: a socket of this machine."""
    return host[:1] in ("", "/", "@") or is_loopback(host)
