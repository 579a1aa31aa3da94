"""The life of a job as one table (docs/life.md).

Every change of status by a verb, and every next stage, is in this file; the store's verbs and the
diagram of docs/life.md §9 obey it. A missing key is an illegal move and changes nothing.
"""

from __future__ import annotations

from enum import StrEnum

from uploader.core.errors import VerbRefused
from uploader.core.job import Stage, Status


class Verb(StrEnum):
    """What can happen to a job's status; the first four are the worker's, the rest the user's."""

    BLOCK = "block"
    FAIL = "fail"
    FINISH = "finish"
    HEAL = "heal"
    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"
    RETRY = "retry"
    RESCAN = "rescan"  #: `retry --rescan` and `--replace`: a new run


TRANSITIONS: dict[Status, dict[Verb, Status]] = {
    Status.ACTIVE: {
        Verb.BLOCK: Status.BLOCKED,
        Verb.FAIL: Status.FAILED,
        Verb.FINISH: Status.DONE,
        Verb.PAUSE: Status.PAUSED,
        Verb.RESUME: Status.ACTIVE,
        Verb.CANCEL: Status.CANCELLED,
        Verb.RETRY: Status.ACTIVE,
        Verb.RESCAN: Status.ACTIVE,
    },
    Status.PAUSED: {
        Verb.PAUSE: Status.PAUSED,
        Verb.RESUME: Status.ACTIVE,
        Verb.RESCAN: Status.ACTIVE,
        Verb.CANCEL: Status.CANCELLED,
    },
    Status.BLOCKED: {
        Verb.HEAL: Status.ACTIVE,
        Verb.RETRY: Status.ACTIVE,
        Verb.RESCAN: Status.ACTIVE,
        Verb.PAUSE: Status.PAUSED,
        Verb.CANCEL: Status.CANCELLED,
    },
    Status.FAILED: {
        Verb.RETRY: Status.ACTIVE,
        Verb.RESCAN: Status.ACTIVE,
        Verb.CANCEL: Status.CANCELLED,
    },
    Status.CANCELLED: {
        Verb.CANCEL: Status.CANCELLED,
    },
    Status.DONE: {},
}

#: The verbs that ask for a status. A job that has it already is left as it is: given twice, such a
#: verb succeeds twice and does its work once.
GOALS: dict[Verb, Status] = {
    Verb.PAUSE: Status.PAUSED,
    Verb.RESUME: Status.ACTIVE,
    Verb.CANCEL: Status.CANCELLED,
}

#: Within one run the stage only moves forward; RESCAN begins another run at `create`.
NEXT_STAGE: dict[Stage, Stage] = {
    Stage.CREATE: Stage.UPLOAD,
    Stage.UPLOAD: Stage.VALIDATE,
    Stage.VALIDATE: Stage.READY,
}

#: What a user can do about a job that refuses a verb.
_HINTS: dict[Status, str] = {
    Status.ACTIVE: "it is running or waiting: see `uploader status`",
    Status.PAUSED: "`uploader resume` lets it go on",
    Status.BLOCKED: "`uploader retry` tries it at once",
    Status.FAILED: "`uploader retry` lets it go on, `uploader cancel` gives it up",
    Status.CANCELLED: "enqueue the folder again, or `uploader remove` the job",
    Status.DONE: "it is READY; `uploader remove` forgets it",
}


def advance(status: Status, verb: Verb) -> Status:
    """The status after ``verb``; raises VerbRefused if the table has no such move."""
    try:
        return TRANSITIONS[status][verb]
    except KeyError:
        message = f"a {status} job cannot be changed by '{verb}'"
        raise VerbRefused(message, hint=hint_of(status)) from None


def hint_of(status: Status) -> str:
    """What a user can do about a job that refuses what was asked for."""
    return _HINTS[status]


def already(status: Status, verb: Verb) -> bool:
    """Whether a job with ``status`` is already what ``verb`` asks for, so nothing is to be done."""
    return GOALS.get(verb) is status


def sources(verb: Verb) -> tuple[Status, ...]:
    """Every status from which ``verb`` is legal."""
    return tuple(status for status, moves in TRANSITIONS.items() if verb in moves)


def render_mermaid() -> str:
    """The state diagram of docs/life.md §9, drawn from the two tables."""
    lines = ["stateDiagram-v2", "    [*] --> active: enqueue", "    state active {"]
    lines += [f"        {stage} --> {after}" for stage, after in NEXT_STAGE.items()]
    lines.append("    }")
    for status, moves in TRANSITIONS.items():
        lines += [f"    {status} --> {after}: {verb}" for verb, after in moves.items()]
    return "\n".join(lines)
