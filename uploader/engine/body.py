"""The bytes of one PUT as a sized stream: measured, stoppable, with a running CRC."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import google_crc32c

from uploader.core.job import PrefixCrc
from uploader.runtime import StopToken
from uploader.sources.reader import BLOCK_BYTES, Reader


class Body:
    """The bytes [start, stop_at) as a sized stream, for requests to send.

    See docs/gcs-resumable.md §3.1.

    ``read`` ignores the size that it is asked for and returns fresh blocks: urllib3 sends a larger
    result unchanged, and google_crc32c accepts only bytes (docs/gcs-resumable.md T14).
    ``take(count)`` waits until bytes may be sent, and says how many of them: see `Throttle.take`.
    ``on_block(pair, block)`` is called for every block that goes to the socket, with the CRC up to
    its end, and at last with an empty one: from then on only the answer is missing.
    ``on_taken`` is called once the socket has taken the last block and asks for the next.
    """

    def __init__(  # noqa: PLR0913 - the parts of a stream, and who hears of its blocks
        self,
        source: Reader,
        start: int,
        stop_at: int,
        *,
        take: Callable[[int], int],
        stop: StopToken,
        on_block: Callable[[PrefixCrc, bytes], None],
        on_taken: Callable[[], None] = lambda: None,
    ) -> None:
        self._source = source
        self._pair = source.crc_at(start)
        self._length = stop_at - start
        self._stop_at = stop_at
        self._take = take
        self._stop = stop
        self._on_block = on_block
        self._on_taken = on_taken

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.read, b"")

    def read(self, _size: int = -1) -> bytes:
        """The next block, b"" at the end.

        Raises Stopped, LeaseLost, SourceUnsettled, SourceUnreadable.
        """
        self._on_taken()
        count = min(BLOCK_BYTES, self._stop_at - self._pair.offset)
        if not count:
            self._on_block(self._pair, b"")
            return b""
        count = self._take(count)
        block = self._source.block(self._pair.offset, count)
        self._source.check()  # before it is sent, and before its CRC can prove anything
        self._stop.check()  # the disk may have been slow, and the lease may have ended
        self._pair = PrefixCrc(
            self._pair.offset + count, google_crc32c.extend(self._pair.crc32c, block)
        )
        self._on_block(self._pair, block)
        return block
