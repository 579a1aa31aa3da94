"""The limits that users chose while workers run, and what workers made of the automatic one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import LargeBinary, Row, cast, delete, func, insert, select, update

from uploader.core.limits import Move
from uploader.store.journal import Journal, storable
from uploader.store.rows import check, types_of
from uploader.store.tables import limits, moves
from uploader.store.unreadable import each, warn_once

#: All workers together: a worker that runs for a year keeps no more.
_MAX_MOVES = 100
_LIMIT, _MOVE = types_of(limits.columns), types_of(moves.columns)
#: A file may keep a name that is not text.
_NAME = cast(limits.c.name, LargeBinary)


class Limits:
    """The two tables of limits. Every method raises StoreError."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def chosen(self) -> dict[str, str]:
        """What users chose, by name, as they wrote it; without what is as configured.

        What cannot be read is empty, which is not a limit.
        """
        query = select(limits).where(limits.c.value.is_not(None))
        with self._journal.reading() as connection:
            return dict(each(connection, query, _NAME, _limit_of, _no_limit))

    def choose(self, values: Mapping[str, str | None], now: datetime) -> None:
        """Keep those limits until they are chosen again; None: as configured."""
        with self._journal.writing(now) as transaction:
            for name, value in values.items():
                known = update(limits).where(limits.c.name == name)
                if not transaction.run(known.values(value=value)).rowcount:
                    transaction.run(insert(limits).values(name=name, value=value))

    def add_move(self, owner: str, move: Move) -> None:
        """Keep one move of that worker; the oldest ones are forgotten."""
        row = {"owner": owner, "at": move.at, "files": move.files}
        with self._journal.writing(move.at) as transaction:
            transaction.run(insert(moves).values(**row, message=storable(move.message)))
            newest = select(func.max(moves.c.id)).scalar_subquery()
            transaction.run(delete(moves).where(moves.c.id <= newest - _MAX_MOVES))

    def moves(self, owner: str, limit: int) -> list[Move]:
        """The last moves of that worker, oldest first."""
        newest = select(moves).where(moves.c.owner == owner).order_by(moves.c.id.desc())
        with self._journal.reading() as connection:
            found = each(connection, newest.limit(limit), moves.c.id, _move_of, _nothing)
        return found[::-1]


def _limit_of(row: Row[Any]) -> tuple[str, str]:
    check(row, _LIMIT)
    return row.name, row.value


def _no_limit(name: bytes | None, why: str) -> tuple[str, str]:
    del why  # whoever reads it says that it is not a limit
    return (name or b"").decode(errors="replace"), ""


def _move_of(row: Row[Any]) -> Move:
    check(row, _MOVE)
    return Move(row.at, row.files, row.message)


def _nothing(move_id: int, why: str) -> None:
    warn_once(f"move {move_id} of a worker cannot be read and is left out: {why}")
