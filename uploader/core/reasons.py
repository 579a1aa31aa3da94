"""Why a job is stopped or waits, or a command is refused: every code, defined nowhere else.

A code is a word that scripts rely on: codes are only ever added. The line that raises an error
names a member; its hint is defined here, unless it depends on what was found. `docs/reasons.md` is
generated from this table: grouped by status, and in this order within each group.
"""

from __future__ import annotations

from uploader.core.coded import Coded, Made
from uploader.core.job import Status


class Code(Coded):
    """Why a job is stopped or waits, or a command is refused; but for the state store's."""

    # -- the account needs a human ---------------------------------------------------------
    NO_KEY = (
        "no_key",
        Status.BLOCKED,
        "No usable API key was found where the configuration says it is.",
        "set the worker's FIREWORKS_API_KEY or api_key_file, or run `firectl set-api-key`",
    )
    KEY_REJECTED = (
        "key_rejected",
        Status.BLOCKED,
        "The service does not accept the API key.",
        "check FIREWORKS_API_KEY, the key file or command, or auth.ini; restart a system service",
    )
    PERMISSION = (
        "permission",
        Status.BLOCKED,
        "The service knows the API key, but the key may not do this.",
        "the key is known but may not do this: check its account and its role",
    )
    ACCOUNT_SUSPENDED = (
        "account_suspended",
        Status.BLOCKED,
        "The account is suspended, or its billing or budget stops it.",
        "check billing and the account's state with Fireworks; jobs then go on",
    )
    QUOTA = (
        "quota",
        Status.BLOCKED,
        "The account has reached its number of models.",
        "delete models you no longer need, or ask Fireworks for a higher quota",
    )
    NO_ACCOUNT = (
        "no_account",
        Status.BLOCKED,
        "The service does not say which account the API key belongs to.",
        "set FIREWORKS_ACCOUNT_ID",
    )
    OTHER_ACCOUNT = (
        "other_account",
        Status.BLOCKED,
        "The job belongs to a different account than the worker.",
        Made("the account to configure a worker for"),
    )

    # -- resolves itself ------------------------------------------------------------------
    UNAVAILABLE = (
        "unavailable",
        Status.ACTIVE,
        "A service cannot be reached, does not answer, or reports an error of its own.",
        "uploader tries again by itself",
    )
    NO_THREAD = (
        "no_thread",
        Status.ACTIVE,
        "This machine, or this container, allows no more threads, or the program is ending.",
        "allow more (pids.max of a container, TasksMax= of a unit, `ulimit -u`)",
    )
    THROTTLED = (
        "throttled",
        Status.ACTIVE,
        "The service asked for fewer requests.",
        "uploader slows down and goes on by itself",
    )
    MALFORMED = (
        "malformed",
        Status.ACTIVE,
        "A success came with an answer that cannot be read. After twenty in a row the job fails.",
        "uploader asks again by itself",
    )
    MIDDLE_BOX = (
        "middle_box",
        Status.ACTIVE,
        "Something on the way, not the service, refused. After twenty in a row the job fails.",
        "have the proxy or firewall let this machine reach the service; uploader tries again",
    )
    PROTOCOL = (
        "protocol",
        Status.ACTIVE,
        "The storage service violated its own protocol. After five in a row the job fails.",
        "uploader asks for the offset again by itself",
    )
    VALIDATING = (
        "validating",
        Status.ACTIVE,
        "Every file is stored; Fireworks has not finished receiving or checking them.",
        "uploader asks again by itself",
    )
    URL_EXPIRED = (
        "url_expired",
        Status.ACTIVE,
        "An upload URL has expired. After five in a row, each fresh, the job fails.",
        "uploader asks for a fresh URL by itself",
    )
    START_REFUSED = (
        "start_refused",
        Status.ACTIVE,
        "A fresh upload URL does not allow a resumable upload. After five in a row the job fails.",
        "uploader falls back to plain PUT if that is allowed",
    )
    SESSION_GONE = (
        "session_gone",
        Status.ACTIVE,
        "The storage service no longer knows the upload session of a file.",
        "this file starts over by itself",
    )
    UNFINISHED = (
        "unfinished",
        Status.ACTIVE,
        "The storage service has every byte, but no object. After twenty in a row the job fails.",
        "uploader asks again by itself",
    )
    KEPT_NOTHING = (
        "kept_nothing",
        Status.ACTIVE,
        "Bytes were accepted, but none or too few were kept. After twenty in a row the job fails.",
        "if a proxy removes the header Range, a transfer.chunk_size above the largest file helps",
    )
    CUT_SHORT = (
        "cut_short",
        Status.ACTIVE,
        "A PUT was cut off, nothing or too little was kept. After twenty in a row the job fails.",
        "uploader goes on by itself; if only long requests stall, lower the MTU, as of a VPN",
    )
    MISMATCH = (
        "mismatch",
        Status.ACTIVE,
        "A stored object differs from its source. The third time the job fails, `corrupted`.",
        "this file starts over by itself",
    )
    SOURCE_UNREADABLE = (
        "source_unreadable",
        Status.ACTIVE,
        "The folder is not mounted, a file cannot be read, or the disk fails.",
        "mount the folder again, or fix its permissions; the job goes on by itself",
    )
    SOURCE_SILENT = (
        "source_silent",
        Status.ACTIVE,
        "The job waits for the disk of its folder, which does not answer.",
        "see whether the disk or the file server is there; the job goes on once it answers",
    )
    KEY_SILENT = (
        "key_silent",
        Status.ACTIVE,
        "The job waits for the API key: the disk of its file does not answer.",
        "see whether the disk or the file server is there; the job goes on once it answers",
    )
    WORKERS_DIED = (
        "workers_died",
        Status.ACTIVE,
        "Five workers or more have died soon after they had taken the job; others go first.",
        "see the system's log: memory is usual; `uploader pause`, then `resume`, tries it at once",
    )
    CLEANING_FIRST = (
        "cleaning_first",
        Status.ACTIVE,
        "What other jobs, or earlier runs, left open for the same model has to end first.",
        "nothing needs to be done: the job goes on by itself",
    )
    SOURCE_DAMAGED = (
        "source_damaged",
        Status.ACTIVE,
        "The disk cannot read a part of a file. After twenty tries in a row the job fails.",
        "check the disk; if the file is lost, save it again, then `uploader retry --rescan`",
    )
    SOURCE_GONE = (
        "source_gone",
        Status.ACTIVE,
        "The folder does not exist any more. After twenty tries in a row the job fails.",
        "put the folder back, then `uploader retry` the job; or `uploader cancel` it",
    )
    SOURCE_UNSETTLED = (
        "source_unsettled",
        Status.ACTIVE,
        "A file was written to and must be compared again. After twenty in a row the job fails.",
        "uploader reads the file again by itself",
    )
    BUG = (
        "bug",
        Status.ACTIVE,
        "A bug in uploader. After five in a row the job fails.",
        "this is a bug: please report it with `uploader logs JOB`",
    )

    # -- this job needs a human ------------------------------------------------------------
    ALREADY_EXISTS = (
        "already_exists",
        Status.FAILED,
        "A model with this id exists and is READY.",
        "`uploader model delete MODEL`, then `uploader retry JOB`; or choose another `model_id`",
    )
    UNSEALED = (
        "unsealed",
        Status.FAILED,
        "The job's rows have no seal: somebody without the secret wrote them, or an old version.",
        "if it is yours, `uploader cancel` it and enqueue its folder again; else see who wrote it",
    )
    UNREADABLE_ROW = (
        "unreadable_row",
        Status.FAILED,
        "The job's rows have values that no version of uploader writes.",
        "`uploader remove JOB` forgets it, or restore a copy; see who else may write the job table",
    )
    EXISTS_DIFFERENTLY = (
        "exists_differently",
        Status.FAILED,
        "A model of this id exists, but differs: in kind, files, state, readers or base model.",
        Made("`uploader retry --replace` if this job created the model, else how to delete it"),
    )
    MODEL_GONE = (
        "model_gone",
        Status.FAILED,
        "The model of this job no longer exists on the service.",
        "`uploader retry --replace` creates it again and sends every byte",
    )
    URLS_REFUSED = (
        "urls_refused",
        Status.FAILED,
        "The service takes no more files for this model while some are not stored.",
        "`uploader retry --replace` deletes the model and creates it again",
    )
    URLS_MISMATCH = (
        "urls_mismatch",
        Status.FAILED,
        "The upload URLs do not match the files, lead two to one place, or elsewhere each time.",
        "`uploader retry` asks again; if it stays so, ask Fireworks about the model",
    )
    URL_UNUSABLE = (
        "url_unusable",
        Status.FAILED,
        "An upload URL is not a URL, or needs something that this program does not know.",
        "update uploader, or report this",
    )
    INSECURE_URL = (
        "insecure_url",
        Status.FAILED,
        "The address does not use https, so data or a key would be sent unencrypted.",
        "nothing was sent to it; if it is a setting of yours, write an https:// address",
    )
    BYOC_UNSUPPORTED = (
        "byoc_unsupported",
        Status.FAILED,
        "The service wants the model in a bucket that the customer owns.",
        "upload it with firectl",
    )
    SESSION_LOST_REPEATEDLY = (
        "session_lost_repeatedly",
        Status.FAILED,
        "A file lost five upload sessions in a row, none of which got further than one before.",
        "check the proxies on the way; `uploader retry` tries again and keeps every stored file",
    )
    SESSION_TOO_SHORT = (
        "session_too_short",
        Status.FAILED,
        "A file cannot be sent within the week for which a session lives.",
        "use a faster link, or save the model in smaller shards",
    )
    SENT_TOO_OFTEN = (
        "sent_too_often",
        Status.FAILED,
        "A file was sent more than twenty times over, and too little of it is kept.",
        "check the proxies on the way; `uploader retry` lets it be sent as often again",
    )
    REFUSED = (
        "refused",
        Status.FAILED,
        "The service refuses a request for a reason that waiting does not change.",
        "fix what the service says, then `uploader retry`",
    )
    VALIDATION_FAILED = (
        "validation_failed",
        Status.FAILED,
        "Fireworks looked at the files and refuses the model.",
        "fix the folder, then `uploader retry --replace`: a model's files cannot be changed",
    )
    VALIDATION_TIMEOUT = (
        "validation_timeout",
        Status.FAILED,
        "The model did not become READY within `validation.deadline`.",
        "`uploader retry` keeps asking; if that does not help, ask Fireworks about the model",
    )
    SOURCE_CHANGED = (
        "source_changed",
        Status.FAILED,
        "A file has changed since it was enqueued.",
        "put the original back, then `uploader retry`; or `uploader retry --rescan` sends it anew",
    )
    SECRET_IN_MODEL = (
        "secret_in_model",
        Status.FAILED,
        "A file of the model is one of uploader's own, or holds the API key. It is not sent.",
        "remove it from the folder, or the key from it, then `uploader retry --replace`",
    )
    SOURCE_MISSING = (
        "source_missing",
        Status.FAILED,
        "A file is gone while its folder is still there.",
        "put it back, then `uploader retry` the job",
    )
    CORRUPTED = (
        "corrupted",
        Status.FAILED,
        "One file arrived damaged three times.",
        "check memory, disk and proxies of this machine, then `uploader retry` the job",
    )

    # -- a command is refused --------------------------------------------------------------
    USAGE = (
        "usage",
        None,
        "The command line, a field of a request, or the configuration is wrong.",
        Made("which values are allowed"),
    )
    CONFLICT = (
        "conflict",
        None,
        "Another open job is for the same model. If a worker finds this, its job fails.",
        Made("which commands end the other job or take over its folder"),
    )
    FIXED_FILES = (
        "fixed_files",
        None,
        "The model exists or existed, and the folder now has other files than it was created with.",
        Made("`uploader retry --replace` if this job created it, or it is gone; else another id"),
    )
    NOT_FOUND = "not_found", None, "There is no such job, file or folder.", Made("what to look at")
    VERB_REFUSED = (
        "verb_refused",
        None,
        "The job's state refuses the verb; nothing was changed.",
        Made("which verbs the job's state allows"),
    )
    DIFFERS = (
        "differs",
        None,
        "Files, or the model, are not as they were when the job was done.",
        "put the files back as they were sent, or upload them again as another model",
    )
    PREFLIGHT = (
        "preflight",
        None,
        "The folder cannot become a model; nothing was sent.",
        Made("what to do about the findings"),
    )
    INTERRUPTED = (
        "interrupted",
        None,
        "A signal ended the command before it had its result; the document says what it had.",
        "jobs that were made are kept: the same command goes on with them",
    )
    TIMED_OUT = (
        "timed_out",
        None,
        "The jobs did not end in the time given.",
        "the jobs go on: wait again, or see `uploader status`",
    )
    HOOK_REFUSED = (
        "hook_refused",
        None,
        "The receiver of a hook did not take what it was told as a test.",
        "check its URL or command, its secret, and what it says itself",
    )

    # -- the job was cancelled ---------------------------------------------------------------
    CLEANING_UP = (
        "cleaning_up",
        Status.CANCELLED,
        "What the job left open on the service could not be ended yet.",
        "a worker tries again by itself; a session also ends without that, within a week",
    )

    # -- never shown: control flow ---------------------------------------------------------
    LEASE_LOST = (
        "lease_lost",
        None,
        "A worker no longer owns a job and writes nothing more about it.",
        "nothing: the job's new owner goes on with it",
    )
    STOPPED = "stopped", None, "A job was asked to stop.", "nothing: it stops"


#: A job waits for a disk for as long as that does not answer.
SILENT = frozenset({Code.SOURCE_SILENT, Code.KEY_SILENT})
