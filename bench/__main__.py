"""`python -m bench`: uploader and others, the same bytes to the same sink, taking turns.

`make bench` writes bench/RESULTS.md, its JSON and its plots; `make bench-quick` takes at most two
minutes and writes to .cache/bench.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from bench.contenders import CONTENDERS
from bench.measure import Failed
from bench.report import Results, facts, read, write
from bench.scenarios import FULL, QUICK, TINY, absent, compare

SETS = {"full": FULL, "quick": QUICK, "tiny": TINY}


def main() -> None:
    """Run the comparison; after each scenario, write what came out so far."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--set", choices=SETS, default="full")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=20, help="begin nothing after so many")
    parser.add_argument("--only", nargs="*", default=(), metavar="SCENARIO")
    parser.add_argument("--contenders", nargs="*", default=tuple(CONTENDERS), metavar="NAME")
    parser.add_argument("--out", type=Path, default=Path("bench"))
    parser.add_argument("--again", action="store_true", help="only the page, from results.json")
    options = parser.parse_args()
    if options.again:
        write(read(options.out), options.out)
        return
    chosen = [one for one in SETS[options.set] if not options.only or one.name in options.only]
    left_out = dict.fromkeys(CONTENDERS.keys() - options.contenders, "not asked for")
    without = absent(chosen) | left_out
    results = Results(facts(CONTENDERS.keys() - without.keys()), without)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and so every folder is removed
    began = time.monotonic()
    ends_s = began + 60 * options.minutes
    for number, scenario in enumerate(chosen):
        now_s = time.monotonic()
        if now_s > ends_s:
            print(f"{scenario.name}: not begun, the time is over", file=sys.stderr, flush=True)
            continue
        print(f"{scenario.name} ({number + 1} of {len(chosen)}): {scenario.words}", flush=True)
        load = os.getloadavg()[0]
        with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
            try:
                found = compare(scenario, options.rounds, without, Path(scratch), ends_s)
            except (Failed, OSError) as problem:  # such as a full disk: the others go on
                found = {}, {scenario.name: f"not measured: {problem}"}
        results.add(scenario, *found, load)
        results.facts["took"] = f"{time.monotonic() - began:.0f} s"
        write(results, options.out)


if __name__ == "__main__":
    main()
