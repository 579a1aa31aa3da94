"""What the server holds of each file, asked once before an upload that is stopped ends.

A transfer that is stopped asks by itself. Other files may be in doubt, too: their last PUT was cut,
by the network or with the worker before this one, and their turn has not come again. There may be
thousands of them, and an end is not to wait: asking ends after a second.
"""

from __future__ import annotations

from uploader.core.errors import Stopped
from uploader.core.job import Job
from uploader.core.upload import Backlog
from uploader.engine.berths import MOST_OPENERS
from uploader.engine.context import WorkerContext
from uploader.engine.crew import Crew
from uploader.engine.soon import ASK_S, soon
from uploader.engine.transfer import Transfer
from uploader.sources.reader import open_source
from uploader.store.held import Held


class LastWord(Transfer):
    """Sends nothing: asks once what the server holds of a file, and ends as if it was stopped."""

    def run(self) -> None:
        """Ask, and raise Stopped."""
        with (
            soon(self._context, self.stop, self.job.id) as token,
            open_source(self.job.source, self.file, token, self._context.private) as source,
        ):
            self.ask_once(source, token)
        raise Stopped


class LastWords:
    """Used by the deciding thread of `engine/upload.py` only."""

    def __init__(self, context: WorkerContext, held: Held, files: Backlog, crew: Crew) -> None:
        self._context = context
        self._held = held
        self._files = files
        self._crew = crew
        self._heard: set[str] = set()
        self._ends_s: float | None = None

    def heard(self, path: str) -> None:
        """A transfer of that file has ended; after the stop each of them has asked."""
        if self._crew.stopped:
            self._heard.add(path)

    def ask(self, job: Job) -> bool:
        """Ask about some files that are still in doubt; False if there are none, or no time."""
        doubted = [file for file in self._files if file.in_doubt and file.path not in self._heard]
        now_s = self._context.clock.boot_s()
        self._ends_s = self._ends_s or now_s + ASK_S
        if now_s >= self._ends_s:
            return False
        for file in doubted[:MOST_OPENERS]:  # each takes a thread, a connection and an open file
            lane, begun = self._crew.lane(), self._files.begin(file.path)
            self._crew.start(
                f"job {job.id} {file.path}",
                LastWord(self._context, job, self._held, begun, lane),
            )
        return bool(doubted)
