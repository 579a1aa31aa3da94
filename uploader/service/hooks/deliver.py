"""One delivery by one hook, of whichever kind. Bounded in time, memory and output."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from uploader import files
from uploader.core.hooks import Undelivered, body_of, sentence_of
from uploader.core.utf8 import json_bytes
from uploader.remote.webhook import Receiver, send
from uploader.runtime import Clock
from uploader.service.hooks.command import run
from uploader.service.hooks.notify import tell
from uploader.settings.hooks import Hook
from uploader.store.outbox import Delivery

_MAX_SECRET_BYTES = 4096


def deliver(hook: Hook, delivery: Delivery, clock: Clock, tls: Any) -> None:
    """Tell the receiver of ``hook``. Raises Undelivered, and Gone if it wants nothing more."""
    document = delivery.document
    if hook.command:
        run(hook.command, delivery.kind, document, hook.timeout_s, clock)
    elif hook.webhook:
        body = json_bytes(body_of(delivery.kind, delivery.at, document))
        headers = _signed(hook.secret_file, delivery.message_id, clock.now(), body)
        _request(hook, hook.webhook, body, headers, clock, tls)
    elif hook.ping:
        _ping(hook, hook.ping, delivery.kind, document, clock, tls)
    elif hook.apprise:
        title, text = sentence_of(delivery.kind, document)
        private = hook.allow_private
        tell(hook.apprise, title, text, hook.timeout_s, clock, private=private)


def beat(hook: Hook, clock: Clock, tls: Any) -> None:
    """The daemon lives: a ping without a job. Raises as `deliver`."""
    _request(hook, hook.ping or "", None, {}, clock, tls)


def _request(
    hook: Hook, url: str, body: bytes | None, headers: Mapping[str, str], clock: Clock, tls: Any
) -> None:
    with Receiver(tls, hook.timeout_s, private=hook.allow_private) as receiver:
        send(receiver, url, body, headers, clock, hook.timeout_s)


def _signed(
    secrets: tuple[Path, ...], message_id: str, now: datetime, body: bytes
) -> Mapping[str, str]:
    """The headers of the Standard Webhooks specification, one signature per secret."""
    headers = {
        "Content-Type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
    }
    signatures = [_signature(file, message_id, now, body) for file in secrets]
    return headers | ({"webhook-signature": " ".join(signatures)} if signatures else {})


def _signature(file: Path, message_id: str, now: datetime, body: bytes) -> str:
    from standardwebhooks.webhooks import Webhook  # noqa: PLC0415 - only webhooks need it

    try:
        secret = files.read(file, _MAX_SECRET_BYTES)[0].decode("ascii").strip()
        signature: str = Webhook(secret).sign(message_id, now, body.decode("utf-8"))
    except (OSError, ValueError, RuntimeError) as problem:
        why = f"its secret_file {file} cannot be used ({type(problem).__name__})"
    else:
        return signature
    raise Undelivered(why)


_PATHS = {"ready": "", "created": "/start", "adopted": "/start", "healed": "/start"}


def _ping(
    hook: Hook, url: str, kind: str, document: Mapping[str, Any], clock: Clock, tls: Any
) -> None:
    """As healthchecks.io has it: the URL for a success, /start and /fail for the others."""
    reason = document.get("reason") or {}
    words = f"job {document.get('id')} {document.get('model')} {kind}"
    if message := reason.get("message"):
        words += f": {message}"
    parts = urlsplit(url)
    path = parts.path.rstrip("/") + _PATHS.get(kind, "/fail")
    where = parts._replace(path=path).geturl()
    text = {"Content-Type": "text/plain; charset=utf-8"}
    _request(hook, where, words.encode("utf-8", "replace"), text, clock, tls)
