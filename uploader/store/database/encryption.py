"""Could others on the way read what is said to PostgreSQL, or on this machine answer it?"""

from __future__ import annotations

from sqlalchemy import URL

from uploader.core.addresses import is_loopback, one_place
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
    asked = _asked(url)
    if not asked:
        return ""
    hosts = asked["hostaddr"] or asked["host"]
    if asked["service"] or all(_is_here(host) for host in hosts.split(",")):
        return ""
    mode = asked["sslmode"]
    asks = mode in _ENCRYPTED or asked["sslrootcert"] == "system"  # then no weaker mode is allowed
    if asks or asked["gssencmode"] == "require":
        return ""
    shown = mode if mode in _IN_THE_CLEAR else MASK
    return f"sslmode is {shown}: what is sent to the database may be read on the way"


def one_address(url: URL) -> dict[str, str]:
    """What to ask of libpq for `localhost` to be one address, if it is asked for; else nothing.

    ``url`` is as for `doubts`. A host that only a service file names is left as it is.
    """
    asked, is_named = _asked(url), url.host or "host" in url.query
    hosts = (asked.get("host", "") if is_named or not asked.get("service") else "").split(",")
    known = (asked.get("hostaddr") or "," * (len(hosts) - 1)).split(",")
    if len(known) != len(hosts):  # libpq will refuse it
        return {}
    here = [place if (place := one_place(host)) != host else "" for host in hosts]
    places = [address or place for address, place in zip(known, here, strict=True)]
    return {} if places == known else {"hostaddr": ",".join(places)}


def _asked(url: URL) -> dict[str, str]:
    """What libpq is asked for, with its defaults; nothing without a driver.

    Raises ArgumentError or ValueError for a URL that cannot be taken apart.
    """
    try:
        from psycopg import pq  # noqa: PLC0415 - an extra

        given = url.get_dialect()().create_connect_args(url)[1]
    except ImportError:
        return {}
    usual = {
        one.keyword.decode(): (one.val or b"").decode(errors="replace")
        for one in pq.Conninfo.get_defaults()
    }
    # What is written twice is no text; libpq will refuse it.
    return {**usual, **{name: str(value) for name, value in given.items()}}


def _is_here(host: str) -> bool:
    """Empty, a folder or an abstract name: a socket of this machine."""
    return host[:1] in ("", "/", "@") or is_loopback(host)
