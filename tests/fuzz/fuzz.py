"""`make fuzz MINUTES=10 SEED=1`: foreign words for every parser, until the time is over.

Hypothesis puts inputs together from the words of each parser's language and from whole examples
that are cut, joined and overwritten. An exception that a parser does not say it raises is a
finding, and so is one megabyte that costs far more than eight times an eighth of it. In
`guided` libFuzzer's coverage looks for inputs instead.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.fuzz.parser import Parser
from tests.fuzz.parsers import parsers
from tests.linear import assert_linear

_EXAMPLES = 300
_MAX_WORDS = 40


def inputs(parser: Parser) -> st.SearchStrategy[bytes]:
    """Bytes as somebody would write them who knows the language and means harm."""
    word = st.sampled_from([word.encode("utf-8", "surrogatepass") for word in parser.words])
    joined = st.lists(word | st.binary(max_size=3), max_size=_MAX_WORDS).map(b"".join)
    if not parser.seeds:
        return joined
    example = st.sampled_from(parser.seeds)
    place = st.integers(0, 1 << 12)
    changed = st.builds(_spliced, example, place, place, joined)
    return st.one_of(joined, example, changed, changed)


def _spliced(example: bytes, at: int, gap: int, words: bytes) -> bytes:
    at %= len(example) + 1
    gap %= len(example) - at + 1
    return example[:at] + words + example[at + gap :]


def search(parser: Parser, number: int, examples: int) -> int:
    """Try so many inputs; how many were tried. Raises what is not the parser's own, made small."""
    tried = 0

    @seed(number)
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        derandomize=False,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=[*HealthCheck],
    )
    @given(inputs(parser))
    def one(raw: bytes) -> None:
        nonlocal tried
        tried += 1
        attempt(parser, raw)

    one()
    return tried


def attempt(parser: Parser, raw: bytes) -> None:
    """Give ``raw`` to the parser; raises what is not its own."""
    with contextlib.suppress(*parser.ours):
        parser.read(raw)


def measure(parser: Parser, word: str) -> None:
    """Raises AssertionError if ``word``, again and again, costs more than its length."""
    assert_linear(lambda text: attempt(parser, text.encode("utf-8", "surrogatepass")), word)


def run(known: Mapping[str, Parser], minutes: float, number: int) -> int:
    """Parser after parser for so many minutes; the exit code."""
    tried: Counter[str] = Counter()
    measured: Counter[str] = Counter()
    dice = random.Random(number)
    faults: dict[str, str] = {}
    ends_s = time.monotonic() + minutes * 60
    for turn in itertools.count(number):
        for name, parser in known.items():
            if time.monotonic() > ends_s:
                return _report(tried, measured, faults)
            try:
                tried[name] += search(parser, turn, _EXAMPLES)
                if parser.long:
                    measured[name] += 1
                    measure(parser, dice.choice(parser.words))
            except Exception:  # noqa: BLE001 - every one of them is what is searched for
                faults.setdefault(name, traceback.format_exc())
    raise AssertionError("the turns never end")


def _report(tried: Counter[str], measured: Counter[str], faults: Mapping[str, str]) -> int:
    for name, count in tried.items():
        _say(f"{name:20} {count:8} inputs {measured[name]:5} megabytes")
    _say(f"{'all':20} {tried.total():8} inputs {measured.total():5} megabytes")
    for name, trace in faults.items():
        _say(f"\nFOUND in {name}:\n{trace}")
    return 1 if faults else 0


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    said = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    said.add_argument("--minutes", type=float, default=10.0)
    said.add_argument("--seed", type=int, default=1)
    said.add_argument("--only", help="one parser by its name")
    words = said.parse_args()
    with tempfile.TemporaryDirectory(prefix="uploader-fuzz-") as scratch:
        known = parsers(Path(scratch))
        if words.only:
            known = {words.only: known[words.only]}
        return run(known, words.minutes, words.seed)


if __name__ == "__main__":
    sys.exit(main())
