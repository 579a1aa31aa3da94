"""Who may use the API: the token in STATE_DIR/api.token, and what a browser gets in its place.

`uploader dashboard` makes a link from the token; the first request for that link gets a cookie.
Neither shows the token. Link and cookie are signed with it, so a new token ends them all, and the
cookie outlives a restart of the daemon. Browsers send a cookie to every port of a host, so it is
good only for the user who opened the link, if the system says who that is (`peer`).
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
import stat
from datetime import datetime, timedelta
from pathlib import Path
from threading import Lock

from uploader import files
from uploader.core.errors import UsageError
from uploader.runtime import Clock
from uploader.store.database.dialect import store_errors
from uploader.store.database.drafts import draft_of

_FILE = "api.token"
LINK_LIFE = timedelta(minutes=10)
_QUESTION_LIFE = timedelta(minutes=1)
COOKIE_LIFE = timedelta(days=30)
_MIN_CHARS, _MAX_CHARS = 32, 512
_OTHERS = 0o077
#: Between a nonce and the user for whom it was signed.
_OF = "~"


def api_token(state_dir: Path) -> str:
    """The token of this state folder, made if there is none: 0600 from its first byte.

    Raises UsageError for a file that others may read or that is not a token; StoreError, OSError.
    """
    if known := known_token(state_dir):
        return known
    path = state_dir / _FILE
    with draft_of(path, f"{secrets.token_urlsafe(32)}\n") as draft, store_errors():
        try:
            os.link(draft, path)
        except FileExistsError:
            pass  # another process was first
        except PermissionError:  # a file system without hard links
            draft.replace(path)
    return _read(path)


def known_token(state_dir: Path) -> str | None:
    """The token of this state folder, if it has one. Raises as `api_token`."""
    with contextlib.suppress(FileNotFoundError):
        return _read(state_dir / _FILE)
    return None


def _read(path: Path) -> str:
    with os.fdopen(files.descriptor_of(path, os.O_NOFOLLOW), "rb") as file:
        facts = os.fstat(file.fileno())
        if facts.st_uid != os.geteuid() or facts.st_mode & _OTHERS:
            raise UsageError(
                f"others may read or replace {path} (mode {stat.S_IMODE(facts.st_mode):04o})",
                hint="delete it: the next start makes a new one, and old links and cookies end",
            )
        text = file.read(_MAX_CHARS + 1).decode("ascii", "replace").strip()
    if not _MIN_CHARS <= len(text) <= _MAX_CHARS or not text.isprintable() or " " in text:
        raise UsageError(f"{path} does not contain a token", hint="delete it: a new one is made")
    return text


def new_link(token: str, address: str, now: datetime, user: int | None = None) -> str:
    """The last part of a link to the page at ``address`` (HOST:PORT), good for one use.

    With ``user``, an id of this machine, it is good for no other user, if the system says who asks.
    """
    return _signed(token, f"link {address}", _millis(now + LINK_LIFE), user)


def new_question(token: str, address: str, now: datetime) -> str:
    """What only a process that knows the token can answer: who is at ``address`` (HOST:PORT)?

    Asking shows nothing of the token, and asking by it costs no other user's turn.
    """
    return _signed(token, f"question {address}", _millis(now + _QUESTION_LIFE), None)


def answer_to(question: str, token: str, address: str) -> str:
    """The answer of whoever listens at ``address``: one for another address cannot be passed on."""
    words = f"answer {address} {question}".encode("utf-8", "replace")
    return hmac.new(token.encode(), words, hashlib.sha256).hexdigest()


class Keeper:
    """Knows the token, and which links are used up. Safe in any thread."""

    def __init__(self, token: str, clock: Clock) -> None:
        self._token = token
        self._clock = clock
        self._begun, self._begun_s = clock.now(), clock.boot_s()
        self._used: dict[str, datetime] = {}
        self._lock = Lock()

    @property
    def cookie_name(self) -> str:
        """One name per token: cookies of one host are shared by all of its ports."""
        return f"uploader_{hashlib.sha256(self._token.encode()).hexdigest()[:12]}"

    def knows_token(self, text: str) -> bool:
        """Is ``text`` the token? The time that takes tells nothing."""
        return hmac.compare_digest(text.encode("utf-8", "replace"), self._token.encode())

    def owner_of(self, text: str) -> str | None:
        """The id of the user who may show the cookie ``text``; empty if everybody may.

        None if it is not a cookie of this token, or has expired.
        """
        return None if self._holds("cookie", text) is None else _owner(text)

    def knows_link(self, link: str, address: str) -> bool:
        """Is ``link`` a link to ``address`` that was not used yet, whoever shows it?"""
        return self._holds(f"link {address}", link) is not None and link not in self._used

    def answer(self, question: str, address: str) -> str | None:
        """As `answer_to`; None for a question that nobody who knows the token has asked."""
        asked = self._holds(f"question {address}", question) is not None
        return answer_to(question, self._token, address) if asked else None

    def redeem(self, link: str, address: str, user: int | None = None) -> str | None:
        """A cookie for a link that was not used before; otherwise None.

        It is good for ``user`` alone, an id of this machine; None: whoever asked is not known.
        Links of the time before this start are refused: whether they were used is not known.
        """
        ends = self._holds(f"link {address}", link)
        up = timedelta(seconds=self._clock.boot_s() - self._begun_s)
        begun = min(self._begun, self._clock.now() - up)  # the clock may have been ahead then
        if ends is None or ends - LINK_LIFE < begun - timedelta(milliseconds=1):
            return None
        owner = _owner(link)
        if owner and user is not None and owner != str(user):
            return None  # and it is still good for its own user
        now = self._clock.now()
        with self._lock:
            self._used = {one: until for one, until in self._used.items() if until > now}
            if link in self._used:
                return None
            self._used[link] = ends
        return _signed(self._token, "cookie", _millis(now + COOKIE_LIFE), user)

    def _holds(self, purpose: str, text: str) -> datetime | None:
        """When it ends, if we signed it and it has not ended yet."""
        until, _, rest = text.partition(".")
        nonce, _, _ = rest.partition(".")
        if not (until.isascii() and until.isdecimal() and len(until) <= len("9999999999999")):
            return None
        genuine = _with_mac(self._token, purpose, int(until), nonce)
        if not hmac.compare_digest(text.encode("utf-8", "replace"), genuine.encode()):
            return None
        ends = datetime.fromtimestamp(int(until) / 1000, self._clock.now().tzinfo)
        return ends if ends > self._clock.now() else None


def _millis(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def _signed(token: str, purpose: str, until: int, user: int | None) -> str:
    owner = "" if user is None else f"{_OF}{user}"
    return _with_mac(token, purpose, until, f"{secrets.token_urlsafe(12)}{owner}")


def _owner(text: str) -> str:
    """The id of the user for whom it was signed; empty if it is good for every one."""
    return text.partition(".")[2].partition(".")[0].partition(_OF)[2]


def _with_mac(token: str, purpose: str, until: int, nonce: str) -> str:
    words = f"{purpose} {until} {nonce}".encode("utf-8", "replace")
    mac = hmac.new(token.encode(), words, hashlib.sha256).hexdigest()
    return f"{until}.{nonce}.{mac}"
