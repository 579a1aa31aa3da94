"""`--faults help`, and so docs/sandbox.md, says what the sandbox knows."""

from __future__ import annotations

import json
import re
from dataclasses import fields

from uploader.sandbox.kinds import ANYWHERE, KINDS, help_text
from uploader.sandbox.script import Fault, parse


def test_every_fault_exchange_and_field_is_reported() -> None:
    told = help_text()
    names = {*KINDS, *ANYWHERE, *(entry.name for entry in fields(Fault))} - {"seen"}
    assert {name for name in names if f"`{name}`" not in told} == set()


def test_the_example_is_a_script() -> None:
    example = re.search(r"^    (\[.*\])$", help_text(), re.MULTILINE)
    assert example
    assert parse(json.loads(example[1]))
