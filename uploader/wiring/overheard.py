"""Clients whose answers are overheard, for `uploader doctor --probe`. Slow imports are inside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from uploader.core.addresses import is_plain
from uploader.core.redact import ApiKey
from uploader.runtime import StopToken, SystemClock
from uploader.wiring import key_source, tls_of

if TYPE_CHECKING:
    from uploader.remote.fireworks import Fireworks
    from uploader.remote.overheard import Ear
    from uploader.remote.storage import Storage
    from uploader.settings.schema import Settings

_WRONG = ApiKey("fw_this_key_is_wrong_on_purpose")


@dataclass(frozen=True, slots=True)
class Overheard:
    """Both services and what they answered last; ``stranger`` has a wrong key."""

    control: Fireworks
    stranger: Fireworks
    storage: Storage
    ear: Ear

    def close(self) -> None:
        """Close every connection."""
        for client in (self.control, self.stranger, self.storage):
            client.close()


def overheard(settings: Settings, stop: StopToken) -> Overheard:
    """The clients, until ``stop``. Raises UsageError."""
    from uploader.core.retry import Backoff
    from uploader.remote.answers import MAX_CONTROL_BYTES
    from uploader.remote.fireworks import Fireworks
    from uploader.remote.gate import Gate
    from uploader.remote.overheard import Ear
    from uploader.remote.sockets import SocketAdapter
    from uploader.remote.storage import Storage

    clock, ear, tls, base_url = SystemClock(), Ear(), tls_of(settings), settings.fireworks.base_url

    backoff = Backoff(settings.retry.initial_delay_s, settings.retry.max_delay_s)

    def control(key: Callable[[], ApiKey]) -> Fireworks:
        adapter = SocketAdapter(stop, tls, max_answer_bytes=MAX_CONTROL_BYTES)
        return Fireworks(base_url, key, clock, Gate(clock, backoff), ear.on(adapter))

    storage = Storage(clock, ear.on(SocketAdapter(stop, tls)), plain=is_plain(base_url))
    return Overheard(control(key_source(settings).read), control(lambda: _WRONG), storage, ear)
