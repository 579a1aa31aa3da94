"""What was answered last, as it came: for a look at what the clients make nothing of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import requests
from requests.adapters import BaseAdapter


@dataclass(frozen=True, slots=True)
class Heard:
    """One answer; its headers have lower-case names."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Ear:
    """Hears the answers that come through its adapters; ``last`` is None if none came."""

    def __init__(self) -> None:
        self.last: Heard | None = None

    def on(self, adapter: BaseAdapter) -> BaseAdapter:
        """``adapter``, overheard."""
        return _Overheard(adapter, self)


class _Overheard(BaseAdapter):
    def __init__(self, inner: BaseAdapter, ear: Ear) -> None:
        super().__init__()
        self._inner = inner
        self._ear = ear

    def send(self, *args: Any, **kwargs: Any) -> requests.Response:
        self._ear.last = None
        answer = self._inner.send(*args, **kwargs)
        headers = {name.lower(): value for name, value in answer.headers.items()}
        self._ear.last = Heard(answer.status_code, headers, answer.content)
        return answer

    def close(self) -> None:
        self._inner.close()
