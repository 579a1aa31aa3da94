"""A parser of foreign text: how it is fed, what it may raise, and its vocabulary.

`ours` is what a parser's docstring says that it raises; anything else is a finding. `words` are the
pieces its language is made of: inputs are put together from them, and each of them, repeated, may
cost no more than its length.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from uploader.core.errors import UploaderError

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
JSON = ("{", "}", "[", "]", ":", ",", '"', "\\", "\\u0041", "\\ud800", "null", "true", "1", "-",
        "1e999", "9" * 30, "NaN", '"a":', '{"a":', " ", "\n", "\ufeff", "é", "\0")  # fmt: skip
MARKUP = ("<", ">", "<Error>", "<Code>", "</Code>", "<Message>", "</Message>", "<!--", "-->",
          "<![CDATA[", "]]>", "&", "&#9", "&#x41;", "&lt;", ";", "<style>", "<script>", "</style>",
          "<html>", "<p>", "?", "=", "upload_id=", "Bearer ", "SIGNATURE_NOT_FOUND")  # fmt: skip
URL = ("https://", "http://", "h", ".", "/", "?", "&", "=", "#", "@", ":", "[", "]", "%", "%00",
       "%ff", "upload_id=", "X-Goog-SignedHeaders=", "X-Goog-Expires=", "x-goog-resumable", ";",
       "9" * 12, "\\", "\0", " ", "é", "xn--")  # fmt: skip


@dataclass(frozen=True)
class Parser:
    """``read`` takes any bytes; what it raises beyond ``ours`` is a finding."""

    read: Callable[[bytes], object]
    words: tuple[str, ...]
    seeds: tuple[bytes, ...] = ()
    ours: tuple[type[Exception], ...] = (UploaderError,)
    #: May a megabyte of one word be put in? Not if that is many operations of a system.
    long: bool = True


def text(raw: bytes) -> str:
    """Of any bytes some text, lone surrogates included."""
    try:
        return raw.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return raw.decode("latin-1")
