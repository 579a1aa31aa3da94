"""What holds for every HTTP session of ours, whomever it speaks to."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import requests
from requests.adapters import BaseAdapter

from uploader.core.addresses import host_of, is_loopback
from uploader.core.distribution import __version__

Auth = Callable[[requests.PreparedRequest], requests.PreparedRequest]


class Client(requests.Session):
    """Follows no redirect, and asks this machine itself without a proxy.

    It keeps no cookie, for an answer has none (`answers.BoundedAnswer`).

    It authenticates by ``auth`` alone, for with an ``auth`` of its own requests never consults
    netrc, whose `default` line would replace our header and give credentials to the storage host
    (docs/invariants.md §7).
    """

    def __init__(self, adapter: BaseAdapter, auth: Auth) -> None:
        super().__init__()
        logging.getLogger("urllib3").setLevel(logging.CRITICAL)  # its lines contain whole URLs
        self.auth = auth
        own = {"User-Agent": f"uploader/{__version__}", "Accept-Encoding": "identity"}
        self.headers.clear()
        self.headers.update(own)
        for scheme in ("https://", "http://"):
            self.get_adapter(scheme).close()
            self.mount(scheme, adapter)

    def get_redirect_target(self, resp: requests.Response) -> None:
        """None: an answer of 3xx is an answer, and its address is not followed."""

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """As of `requests.Session`, which has the proxies of the environment by now."""
        if is_loopback(host_of(request.url or "")):
            kwargs["proxies"] = {}
        return super().send(request, **kwargs)
