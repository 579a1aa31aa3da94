"""What an API key looks like, and what people paste along with it."""

from __future__ import annotations

import re

_MAX_CHARS = 4096
#: The only characters that a header may carry.
_KEY = re.compile(r"[\x21-\x7e]+")
_NAMED = re.compile(r"(?:export\s+)?[A-Za-z_]{0,40}api_?key\s*[=:]", re.IGNORECASE)
#: Straight, backward, and the typographic ones of a word processor.
_QUOTES = "\"'`\u2018\u2019\u201c\u201d"


def flaw_of_api_key(text: str) -> str:
    """What is wrong with ``text`` as a key, worded to follow its name; empty if nothing is.

    The text itself is never part of it.
    """
    flaws = {
        "is empty": not text,
        "has a line end in it": "\n" in text or "\r" in text,
        "has quotes around it": text[:1] in _QUOTES or text[-1:] in _QUOTES,
        "begins with the word Bearer": text[:6].lower() == "bearer",
        "begins with the name of its variable": _NAMED.match(text) is not None,
        "is longer than any key": len(text) > _MAX_CHARS,
        "has blanks, control or non-ASCII characters in it": _KEY.fullmatch(text) is None,
    }
    return next((flaw for flaw, found in flaws.items() if found), "")
