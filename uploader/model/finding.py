"""What was found in a folder, in words that a person can act on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from uploader.core.finding import Finding, Severity
from uploader.core.text import shown

__all__ = ["Finding", "error", "few", "warning"]

_MAX_CHARS = 600
#: This many of one check are kept with a job, which is read with them again and again.
_MOST_ALIKE = 100


def error(check: str, file: str | None, message: str, hint: str) -> Finding:
    """A finding that refuses the folder; its words are printable, and cut to 600 characters each.

    ``file`` is None if it is about the folder as a whole.
    """
    return _finding(check, "error", file, message, hint)


def warning(check: str, file: str | None, message: str, hint: str) -> Finding:
    """A finding that refuses nothing; otherwise like `error`."""
    return _finding(check, "warning", file, message, hint)


def few(found: Iterable[Finding]) -> Iterator[Finding]:
    """At most 100 findings of one check and severity, and one that counts the others, if any."""
    counts: Counter[tuple[str, str]] = Counter()
    last: dict[tuple[str, str], Finding] = {}
    for one in found:
        alike = one.check, one.severity
        counts[alike] += 1
        last[alike] = one
        if counts[alike] <= _MOST_ALIKE:
            yield one
    for one in last.values():
        more = counts[one.check, one.severity] - _MOST_ALIKE
        if more > 0:
            hint = "`uploader preflight` lists them all"
            yield Finding(one.check, one.severity, None, f"{more:,} more like these", hint)


def _finding(check: str, severity: Severity, file: str | None, message: str, hint: str) -> Finding:
    """What it quotes is a stranger's: it may be long, and its characters halves or commands."""
    named = None if file is None else shown(file)
    return Finding(check, severity, named, _words(message), _words(hint))


def _words(text: str) -> str:
    return _cut(shown(_cut(text)))


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_CHARS else f"{text[: _MAX_CHARS - 1]}…"
