"""Why the state store cannot be used: the codes beside those of `reasons.py`."""

from __future__ import annotations

from uploader.core.coded import Coded, Made


class StoreCode(Coded):
    """Why the state store cannot be used. No job is concerned: every one stays as it is."""

    STORE = "store", None, "The state store cannot be used as it is.", Made("what to check")
    LOCKED = (
        "locked",
        None,
        "Another process has locked the store.",
        Made("how to find that process"),
    )
    READ_ONLY = "read_only", None, "The state store cannot be written.", Made("what to check")
    CORRUPT = "corrupt", None, "The state store is damaged.", "restore a backup, or move it away"
    ROW_REFUSED = (
        "row_refused",
        None,
        "The database refuses what follows from a row.",
        "try again; if it stays, see who else may write the job table",
    )
    DISK_FULL = (
        "disk_full",
        None,
        "The disk of the state store is full.",
        Made("which disk is full"),
    )
    GONE = (
        "gone",
        None,
        "The state store is gone or cannot be opened.",
        "check the state folder, restart the service",
    )
    IO = "io", None, "The state store cannot be read or written.", Made("what to check")
    UNREACHABLE = (
        "unreachable",
        None,
        "PostgreSQL does not answer.",
        "check that the server runs, and check host, port and user in database_url",
    )
    LOGIN_REFUSED = (
        "login_refused",
        None,
        "PostgreSQL refuses the user, the password, the database or a setting of the URL.",
        Made("which part of the URL to check"),
    )
    CROWDED = (
        "crowded",
        None,
        "PostgreSQL is out of connections or memory.",
        "try again; raise max_connections, or run fewer workers",
    )
    SQLITE_TOO_OLD = (
        "sqlite_too_old",
        None,
        "This Python's SQLite lacks a feature that the state store needs.",
        "use a newer Python, or one built with a newer SQLite (`python3 -m sqlite3 --version`)",
    )
    FOREIGN = (
        "foreign",
        None,
        "The database contains another program's tables.",
        "set UPLOADER_DATABASE_URL to a file or database that no other program uses",
    )
    EMPTY = "empty", None, "The state store is empty.", "enqueue a folder first"
    OLDER = "older", None, "An earlier version wrote the state store.", Made("how to migrate it")
    NEWER = "newer", None, "A later version wrote the state store.", Made("what to install")
