"""The limits that users chose while workers run, and what workers made of the automatic one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import delete, func, insert, select, update

from uploader.core.limits import Move
from uploader.store.journal import Journal, storable
from uploader.store.tables import limits, moves

#: Of all workers together: a worker that runs for a year keeps no more.
_MAX_MOVES = 100


class Limits:
    """The two tables of limits. Every method raises StoreError."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def chosen(self) -> dict[str, str]:
        """What users chose, by name, as they wrote it; without what is as configured."""
        query = select(limits.c.name, limits.c.value).where(limits.c.value.is_not(None))
        with self._journal.reading() as connection:
            rows = connection.execute(query).all()
            return {row.name: row.value for row in rows if type(row.value) is str}

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
            rows = connection.execute(newest.limit(limit)).all()
        return [Move(row.at, row.files, row.message) for row in reversed(rows)]
