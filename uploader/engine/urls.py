"""The signed URLs of one job: in memory only, always the whole map (design §3 upload)."""

from __future__ import annotations

from collections.abc import Mapping

from uploader.core.resumable import UploadUrl

#: What a URL that names no life is believed to have (contract fireworks §13.3).
DEFAULT_LIFE_S = 3600.0


class UrlBook:
    """The last map of getUploadEndpoint; its age is counted from receipt, suspend included."""

    def __init__(self) -> None:
        self._urls: Mapping[str, UploadUrl] = {}
        self._received_s = 0.0

    def __getitem__(self, path: str) -> UploadUrl:
        return self._urls[path]

    def fill(self, urls: Mapping[str, UploadUrl], boot_s: float) -> None:
        self._urls = urls
        self._received_s = boot_s

    def drop(self) -> None:
        self._urls = {}

    def fresh(self, boot_s: float) -> bool:
        """True while at least a quarter of the shortest life is left."""
        lives = [url.life_s or DEFAULT_LIFE_S for url in self._urls.values()]
        return bool(lives) and boot_s - self._received_s <= min(lives) * 0.75
