"""Apprise, in a process of its own: it reads answers of any length, and as slowly as they drip in.

Whoever it tells may send what they like. So that process has a bound of memory, and ends in time
even if nobody is left to end it. The URL may hold a secret: it comes by stdin, where no other user
sees it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import resource
import signal
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from uploader.core.hooks import Undelivered
from uploader.remote.webhook import require_no_proxy, require_reachable
from uploader.runtime import Clock
from uploader.service.hooks.command import finished, last_words
from uploader.settings.load import for_others

#: Four times what Apprise takes with all its services.
_MAX_BYTES = 256 << 20
#: It says why; with any other code it did not get that far.
_SAID_WHY = 3


def tell(url: str, title: str, text: str, timeout_s: float, clock: Clock, *, private: bool) -> None:
    """Have the service at ``url`` told within ``timeout_s``. Raises Undelivered."""
    asked = {"url": url, "title": title, "text": text, "timeout_s": timeout_s, "private": private}
    command = (sys.executable, "-P", "-m", __name__)
    code, printed = finished(command, json.dumps(asked).encode(), for_others(), timeout_s, clock)
    if code:
        said = last_words(printed) if code == _SAID_WHY else ""
        raise Undelivered(said or f"apprise ended with exit code {code}")


def main() -> None:
    """Tell whom stdin names; if that fails, print why."""
    asked = json.loads(sys.stdin.buffer.read())
    with contextlib.suppress(OSError, ValueError):  # a system may forbid it, or have less
        resource.setrlimit(resource.RLIMIT_AS, (_MAX_BYTES, _MAX_BYTES))
    signal.setitimer(signal.ITIMER_REAL, asked.pop("timeout_s"))
    logging.disable()  # its lines contain URLs
    try:
        notify(**asked)
    except Undelivered as failed:
        print(failed.why, flush=True)  # noqa: T201 - that is how it answers
        sys.exit(_SAID_WHY)


def notify(url: str, title: str, text: str, *, private: bool) -> None:
    """Tell the service at ``url``. Raises Undelivered."""
    try:
        from apprise import Apprise  # noqa: PLC0415 - an extra
    except ImportError:
        raise Undelivered("apprise is not installed: it is the extra `notify`") from None
    service = Apprise()
    if not service.add(url):
        raise Undelivered("apprise does not know this kind of URL")
    for one, host in _hosts(service):
        if not private:
            require_reachable(host)
        if hasattr(sys.modules[type(one).__module__], "requests"):  # else it uses no proxy
            require_no_proxy(host, "https" if one.secure else "http")
    # Else it would take what others said for HTML, if that is what the service sends.
    if not service.notify(title=title, body=text, body_format="text"):
        raise Undelivered("apprise could not deliver it")


def _hosts(service: Iterable[Any]) -> Iterator[tuple[Any, str]]:
    """Each service with the host that Apprise connects to, as far as it says so.

    Of a service with an address of its own, what stands where a URL has its host is a token.
    """
    for one in service:
        host = getattr(one, "smtp_host", None) or one.host
        if host and any("{host}" in form for form in one.templates):
            yield one, host.strip("[]")


if __name__ == "__main__":
    main()
