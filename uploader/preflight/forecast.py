"""What an upload would take, at a rate that was given or measured."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from uploader.core.job import Manifest
from uploader.core.resumable import SESSION_LIFE_S
from uploader.core.text import duration, size
from uploader.model.finding import Finding, warning

SESSION_LIFE = "A file that could not be sent within the week that a session lives (--rate)."


@dataclass(frozen=True, slots=True)
class Outlook:
    """A rate in bytes per second, and in words where it is from."""

    rate_bps: float
    because: str

    def takes_s(self, manifest: Manifest) -> float:
        return manifest.size_bytes / self.rate_bps

    def session_life(self, manifest: Manifest, max_files: int) -> Iterable[Finding]:
        """A warning where the largest file, sharing the rate with ``max_files``, is too slow."""
        if not manifest.files:
            return
        largest = max(manifest.files, key=lambda file: file.size_bytes)
        sharing = min(max_files, len(manifest.files))
        # Alone it is faster; the whole upload's time is the longest that any file can take.
        needs_s = min(largest.size_bytes * sharing / self.rate_bps, self.takes_s(manifest))
        if needs_s > SESSION_LIFE_S:
            message = (
                f"{largest.path} needs up to {duration(needs_s)} at {size(self.rate_bps)}/s; "
                "a session lives a week"
            )
            hint = "save the model in smaller shards, or lower transfer.max_files"
            yield warning("session_life", largest.path, message, hint)
