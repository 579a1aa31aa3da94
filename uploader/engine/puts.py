"""How long the PUTs of a job may be.

Not in the job's row, because it says something about the network as it is now: a laptop moves, a
proxy is fixed.
"""

from __future__ import annotations

from uploader.core.resumable import FIRST_PUT_BYTES, half_a_put, quick_put


class PutLengths:
    """The most bytes of one PUT, by job; any thread may ask and tell."""

    def __init__(self) -> None:
        self._quick: dict[int, int] = {}
        self._quick_most: dict[int, int] = {}
        self._most: dict[int, int] = {}

    def most(self, job_id: int, given: int | None) -> int:
        """``given`` is what is configured; None: as the network is found to be."""
        wanted = self._quick.get(job_id, FIRST_PUT_BYTES) if given is None else given
        return min(wanted, self._most.get(job_id, wanted))

    def limit(self, job_id: int, most_bytes: int) -> None:
        """Longer ones do not get through, whatever is configured."""
        self._most[job_id] = most_bytes

    def confirmed(self, job_id: int, put_bytes: int, took_s: float) -> None:
        """A PUT of this many bytes was confirmed as a whole after ``took_s`` seconds.

        A short one, at the end of a file, says nothing of how long others may be.
        """
        if put_bytes >= FIRST_PUT_BYTES:
            quick = quick_put(put_bytes, took_s)
            self._quick[job_id] = min(quick, self._quick_most.get(job_id, quick))

    def failed(self, job_id: int, put_bytes: int) -> None:
        """A PUT of this many bytes failed, maybe for its length: none that we choose is as long."""
        if put_bytes > FIRST_PUT_BYTES:
            half = max(FIRST_PUT_BYTES, half_a_put(put_bytes) or 0)
            self._quick[job_id] = self._quick_most[job_id] = half
