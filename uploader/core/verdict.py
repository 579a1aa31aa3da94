"""Which request was answered, and what an answer that is not a success means."""

from __future__ import annotations

from enum import StrEnum


class Call(StrEnum):
    """Which request was answered."""

    CREATE = "create model"
    GET = "get model"
    DELETE = "delete model"
    URLS = "getUploadEndpoint"
    VALIDATE = "validateUpload"
    VERIFY = "verifyApiKey"
    START = "start of a resumable session"
    DATA = "data of a resumable session"
    QUERY = "status of a resumable session"
    END = "end of a resumable session"
    PUT = "plain signed PUT"


CONTROL = frozenset({Call.CREATE, Call.GET, Call.DELETE, Call.URLS, Call.VALIDATE, Call.VERIFY})
SESSION = frozenset({Call.DATA, Call.QUERY, Call.END})
SIGNED = frozenset({Call.START, Call.PUT})
STORAGE = SESSION | SIGNED


class Verdict(StrEnum):
    """What an answer that is not a success means."""

    TRANSIENT = "transient"  #: ask again later
    THROTTLED = "throttled"  #: a rate limit: every control-plane call slows down
    NOT_YET = "not yet"  #: the service is still receiving the files: poll on
    EXISTS = "exists"  #: the name is taken, or its uploads are closed
    ABSENT = "absent"  #: the model is not there
    BLOCKED = "blocked"  #: the account needs a human
    SESSION_GONE = "session gone"  #: that file starts over with a new session
    URL_EXPIRED = "url expired"  #: ask for the whole map again
    START_REFUSED = "start refused"  #: the URL cannot start a resumable session
    FAILED = "failed"  #: this job needs a human
