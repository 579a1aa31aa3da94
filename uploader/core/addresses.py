"""Where a secret may go: the one reading of an address, for the settings and for every request."""

from __future__ import annotations

import difflib
import functools
import ipaddress
from contextlib import suppress
from urllib.parse import SplitResult, urlsplit

#: What other tools append to the same address (docs/fireworks.md §7).
_APPENDED = frozenset({"", "v1", "inference"})
HOME = "api.fireworks.ai"
#: From this similarity on, one name is easily mistaken for the other.
_ALIKE = 0.75
#: Some times what a signed URL or a session URI has: of each file, both are kept.
MAX_CHARS = 8 * 1024
_LONGEST_HOST = 253
_DEFAULT_PORTS = {"https": 443, "http": 80}
_WHOLE = "write a whole URL: https://api.fireworks.ai"


def parts_of(url: str) -> SplitResult | None:
    """The parts of an address that anybody may have written; None if it is not one, or too long.

    `urlsplit` raises ValueError for half an IPv6 address, and only its ``port`` for a number that
    no port has: of what is returned here, no part raises anything. It also passes over control
    characters, and half a character ends whoever sends or keeps it: no address has either. Nor has
    it a host that no name can be (`a..b`): whoever looks that up, or a proxy's part, raises.
    """
    if len(url) > MAX_CHARS or not url.isprintable():
        return None
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").encode("idna")
        is_one = parts.port != 0 and len(host) <= _LONGEST_HOST
    except ValueError:
        return None
    return parts if is_one else None


def host_of(url: str) -> str:
    """The host in an address that anybody may have written; empty if it names none."""
    parts = parts_of(url)
    return (parts.hostname or "") if parts else ""


def trusted(url: str, *, plain: bool) -> bool:
    """Whether a secret may go to ``url``: absolute https, and with ``plain`` http to this machine.

    Never an address with a user in it: that would be a credential somebody else chose.
    """
    parts = parts_of(url)
    if parts is None or "@" in parts.netloc:
        return False
    if parts.scheme == "http":
        return plain and is_loopback(parts.hostname or "")
    return parts.scheme == "https" and bool(parts.hostname)


@functools.lru_cache(maxsize=64)
def is_loopback(host: str) -> bool:
    """Whether ``host``, a name or an address without brackets, is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def one_place(host: str) -> str:
    """What is connected to for ``host``: for `localhost`, one of its two addresses.

    At the other one any user of this machine may listen, and would be given what is sent.
    """
    return "127.0.0.1" if host.lower() in ("localhost", "localhost.") else host


def base_url(text: str) -> str:
    """The address of the control plane in its one spelling, which job rows and workers compare.

    The result is in lower case and has no default port, no trailing slash and nothing that other
    tools append: `/v1`, `/inference`, `/inference/v1`, even repeated. Raises ValueError with what
    to write instead.
    """
    text = text.strip()
    if len(text) > MAX_CHARS:
        raise ValueError(_WHOLE)
    found = urlsplit(text)  # its ValueError says what is wrong
    if found.username is not None or found.password is not None or set("?#") & set(text):
        raise ValueError("write only scheme, host and port: https://api.fireworks.ai")
    if not text.isprintable() or " " in text or "\\" in text:
        raise ValueError("it has blanks, backslashes or control characters")
    if not found.hostname or found.port == 0 or parts_of(text) is None:
        raise ValueError(_WHOLE)
    if not trusted(text, plain=True):
        raise ValueError("only https keeps the API key safe; http is allowed for this machine only")
    return f"{found.scheme}://{authority(found)}{_place(found.path)}"


def authority(parts: SplitResult) -> str:
    """Host and port of an http(s) address in their one spelling; whose they are is left out."""
    host = parts.hostname or ""
    with suppress(ValueError):
        host = str(ipaddress.IPv6Address(host))
    host = f"[{host}]" if ":" in host else host
    return host if parts.port in (None, _DEFAULT_PORTS[parts.scheme]) else f"{host}:{parts.port}"


def _place(path: str) -> str:
    parts = path.split("/")
    while parts and parts[-1] in _APPENDED:
        parts.pop()
    return "/".join(parts)


def is_plain(base_url: str) -> bool:
    """Whether the control plane is reached without TLS: only then may storage be, too."""
    return base_url.startswith("http:")


def doubts(base_url: str) -> str:
    """A warning about an address that another one may be taken for; empty for any other."""
    host = urlsplit(base_url).hostname or ""
    if is_plain(base_url) and host == "localhost":
        return (
            f"{host} is {one_place(host)} here, and never ::1: if your service listens there,"
            " write [::1]"
        )
    if host == HOME or is_loopback(host):
        return ""
    strange = not host.isascii() or "xn--" in host
    near = difflib.SequenceMatcher(None, host, HOME).ratio() >= _ALIKE
    if strange or near or "fireworks" in host:
        return f"{host} is not {HOME}, but looks like it: is it yours? It gets the API key"
    return ""
