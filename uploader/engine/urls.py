"""The signed URLs of one job: in memory only, always the whole map (design §3 upload)."""

from __future__ import annotations

from collections.abc import Mapping

from uploader.core.resumable import UploadUrl, UrlKind

#: What a URL that names no life is believed to have (contract fireworks §13.3).
DEFAULT_LIFE_S = 3600.0


class UrlBook:
    """The last map of getUploadEndpoint; its age is counted from receipt, suspend included."""

    def __init__(self) -> None:
        self._urls: dict[str, UploadUrl] = {}
        self._fresh_until_s = 0.0

    def take(self, path: str) -> UploadUrl:
        """The URL of a file that starts. A session URI is given out once: it gets used up."""
        url = self._urls[path]
        if url.kind is UrlKind.SESSION:
            del self._urls[path]
        return url

    def fill(self, urls: Mapping[str, UploadUrl], boot_s: float) -> None:
        lives = [url.life_s or DEFAULT_LIFE_S for url in urls.values()]
        self._urls = dict(urls)
        self._fresh_until_s = boot_s + min(lives, default=0.0) * 0.75

    def drop(self) -> None:
        self._urls = {}

    def fresh(self, path: str, boot_s: float) -> bool:
        """True while there is one for ``path`` and a quarter of the shortest life is left."""
        return path in self._urls and boot_s <= self._fresh_until_s
