"""A cut may go through a secret, and nobody knows what is left of it: who cuts, masks before."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2] / "uploader"
#: Rooms that read, or keep, what services, storage hosts, commands and requests say.
ROOMS = ("core", "engine", "remote", "service", "store")
MOST = re.compile(r"_?(MAX|MOST)_(\w+_)?(CHARS|BYTES)|max_chars")
#: Why each of these lets no part of a secret through.
KNOWN = {
    ("core/keeping.py", "line(str(one))[:MAX_LINE_CHARS]"): "`line` has masked it",
    ("core/probe.py", "body[:_MOST_BYTES]"): "only fixed words of it are kept",
    ("core/redact.py", "text[:_MAX_FOREIGN_CHARS]"): "`before_the_cut`",
    ("core/redact.py", "line[:max_chars - 1]"): "it is masked",
    ("core/repeats.py", "redact(message)[:_MAX_MESSAGE_CHARS]"): "it is masked",
    ("remote/refusals.py", "text.strip()[:_MAX_RETRY_AFTER_CHARS]"): "only a number is read of it",
    ("remote/words.py", "content[:_MAX_READ_BYTES]"): "`before_the_cut`",
    ("service/hooks/command.py", "(printed + block)[-_MAX_OUTPUT_BYTES - 1:]"): "`_whole_lines`",
    ("store/journal.py", "line[:_MAX_MESSAGE_CHARS]"): "it is masked",
    ("store/journal.py", "text[:_MAX_READ_CHARS]"): "`before_the_cut`",
}


def cuts(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Slice):
            names = {one.id for one in ast.walk(node.slice) if isinstance(one, ast.Name)}
            if any(map(MOST.fullmatch, names)):
                yield ast.unparse(node)


def test_no_text_of_others_is_cut_in_another_way() -> None:
    found = {
        (path.relative_to(ROOT).as_posix(), cut)
        for room in ROOMS
        for path in (ROOT / room).rglob("*.py")
        for cut in cuts(path)
    }
    assert found == {*KNOWN}
