"""The kinds of events in a job's history, defined nowhere else.

`docs/events.md` is generated from here. Kinds are only ever added: stores keep events of earlier
versions. An event is for people and for programs that follow along; uploader itself decides nothing
by it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class Teller(StrEnum):
    """Who writes an event."""

    USER = "user"  #: a command
    JOB = "worker"  #: the worker that holds the job
    FILE = "worker, for one file"  #: as JOB; the event has a path
    ANY_WORKER = "any worker"  #: one that does not hold the job
    NOBODY = "nobody"  #: it is not in the table


class Level(StrEnum):
    """How loud the log of a worker says it."""

    INFO = "info"  #: as it should be
    WARNING = "warning"  #: something went wrong, and is tried again or costs more
    ERROR = "error"  #: nothing more happens until a human acts


class EventKind(StrEnum):
    """One kind of event: who writes it, and when."""

    teller: Teller
    when: str

    def __new__(cls, word: str, teller: Teller, when: str) -> Self:
        """A member: its name, who writes it, and when."""
        member = str.__new__(cls, word)
        member._value_ = word
        member.teller = teller
        member.when = when
        return member

    # -- users ---------------------------------------------------------------------------

    ENQUEUED = "enqueued", Teller.USER, "the job was written; always its first event"
    PAUSED = "paused", Teller.USER, "`pause` took effect"
    RESUMED = "resumed", Teller.USER, "`resume` took effect"
    CANCELLED = "cancelled", Teller.USER, "`cancel` took effect; a worker may still clean up"
    RETRIED = "retried", Teller.USER, "`retry` took effect"
    RESCANNED = "rescanned", Teller.USER, "`retry --rescan` began a new run with a new manifest"
    KEPT = (
        "kept",
        Teller.USER,
        "`retry --rescan` found a stored file unchanged; it is not sent again; has a path",
    )
    EDITED = "edited", Teller.USER, "`edit` changed the job's priority"
    REPLACED = "replaced", Teller.USER, "`retry --replace` began a new run with a new model"

    # -- the job -------------------------------------------------------------------------

    ACCOUNT = "account", Teller.JOB, "the service named the account that the key belongs to"
    DELETED = (
        "deleted",
        Teller.JOB,
        "the job's model was deleted, for a replacement or by somebody else",
    )
    RECREATED = (
        "recreated",
        Teller.JOB,
        "no more URLs for a model without finished files: a new run deletes and creates it",
    )
    CREATED = "created", Teller.JOB, "this job created the model; stage `upload` begins"
    ADOPTED = "adopted", Teller.JOB, "the model existed and fits; it says what else differs"
    FELL_BACK = "fell_back", Teller.JOB, "resumable starts are refused: plain PUT from now on"
    VALIDATING = "validating", Teller.JOB, "every file is stored; stage `validate` begins"
    NOT_READY_YET = (
        "not_ready_yet",
        Teller.JOB,
        "validateUpload gave a new reason to wait; older stores say `validating` again",
    )
    READY = "ready", Teller.JOB, "the service called the model READY; the job is done"
    RETRYING = "retrying", Teller.JOB, "a step failed and is tried again later"
    BLOCKED = "blocked", Teller.JOB, "the account needs a human"
    FAILED = "failed", Teller.JOB, "this job needs a human"
    LEFT_OPEN = (
        "left_open",
        Teller.JOB,
        "the service refuses to end, or delete, what a job, or an earlier run, left",
    )
    MODEL_KEPT = (
        "model_kept",
        Teller.JOB,
        "a cancelled job's model is not deleted: another job makes it its own",
    )
    CLOSED = "closed", Teller.JOB, "the remote clean-up of a cancelled job has ended"

    # -- files ---------------------------------------------------------------------------

    SESSION_OPENED = "session_opened", Teller.FILE, "a resumable session was opened"
    SESSION_RESUMED = (
        "session_resumed",
        Teller.FILE,
        "a session goes on at the server's offset; older stores say `resumed`, with a path",
    )
    SESSION_DROPPED = "session_dropped", Teller.FILE, "the file starts over; the message says why"
    SESSIONS_LOST = (
        "sessions_lost",
        Teller.FILE,
        "several sessions in a row were lost, none of which got further than one before",
    )
    PUT_HALVED = (
        "put_halved",
        Teller.FILE,
        "PUTs as long as that do not get through; the job's next ones are half as long",
    )
    COSTLY_PUT = (
        "costly_put",
        Teller.FILE,
        "a file of 20 GB or more can only be sent by plain PUT: a cut sends all of it again",
    )
    STORED = "stored", Teller.FILE, "the server has the whole object"
    FILE_FAILED = (
        "file_failed",
        Teller.FILE,
        "a try at the file failed; older stores say `retrying`, with a path",
    )
    REIDENTIFIED = (
        "reidentified",
        Teller.FILE,
        (
            "the file was touched, replaced, given other permissions or links,"
            " or is open for writing; its bytes are the same, or none was sent yet"
        ),
    )

    # -- other workers -------------------------------------------------------------------

    RESCUED = "rescued", Teller.ANY_WORKER, "the lease of a worker that is gone was ended"
    HOOK_FAILED = (
        "hook_failed",
        Teller.ANY_WORKER,
        "a hook's receiver did not take what it was to be told, several times",
    )
    HEALED = "healed", Teller.ANY_WORKER, "a blocked job is tried again: new start, or a good key"

    # -- readers -------------------------------------------------------------------------

    UNREADABLE = (
        "unreadable",
        Teller.NOBODY,
        "shown in place of an event whose row has values that no version writes",
    )


_ERRORS = frozenset({EventKind.BLOCKED, EventKind.FAILED})
_WARNINGS = frozenset({
    EventKind.RECREATED, EventKind.FELL_BACK, EventKind.RETRYING, EventKind.LEFT_OPEN,
    EventKind.SESSION_DROPPED, EventKind.SESSIONS_LOST, EventKind.PUT_HALVED, EventKind.COSTLY_PUT,
    EventKind.FILE_FAILED, EventKind.RESCUED,
})  # fmt: skip


def level_of(kind: str) -> Level:
    """How loud an event of that kind is; one of a later version is not."""
    if kind in _ERRORS:
        return Level.ERROR
    return Level.WARNING if kind in _WARNINGS else Level.INFO


def render_table() -> str:
    """The table of `docs/events.md`."""
    rows = [f"| `{kind}` | {kind.teller} | {level_of(kind)} | {kind.when} |" for kind in EventKind]
    return "\n".join(["| kind | written by | logged as | when |", "|---|---|---|---|", *rows])
