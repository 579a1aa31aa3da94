"""One parser, its inputs guided by coverage: `python -m tests.fuzz.guided "auth.ini" 10`, minutes.

Whoever wants it installs `atheris`; neither the tests nor CI do. It ends the process by itself, and
leaves an input that raises what is not the parser's own in the current folder.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from pathlib import Path
from typing import Any


def main() -> None:
    name, minutes = sys.argv[1], float(sys.argv[2])
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["uploader", "configparser", "tomllib"]):
        parsers = importlib.import_module("tests.fuzz.parsers")
    parser = parsers.parsers(Path(tempfile.mkdtemp(prefix="uploader-fuzz-")))[name]

    def one(raw: bytes) -> None:
        try:
            parser.read(raw)
        except parser.ours:
            return

    options = [f"-max_total_time={minutes * 60:.0f}", "-max_len=4096", "-timeout=20"]
    atheris.Setup([sys.argv[0], *options], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
