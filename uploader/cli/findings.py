"""Prints what intake found, for people: on stderr, or on stdout if it is the result."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

from uploader.cli.flags import spelled
from uploader.cli.render import option_lines, readers
from uploader.cli.terminal import out, out_wrapped, print_note_wrapped
from uploader.core.text import duration, size, some
from uploader.model.finding import Finding

if TYPE_CHECKING:
    from uploader.intake.inspect import Inspection
    from uploader.intake.plan import Plan
    from uploader.model.folder import LeftOut

#: Prints a sentence after a lead; further lines are indented by the lead's width.
Print = Callable[[str, str], None]

_NAMES_SHOWN = 3
#: How many findings of one check are shown: a clone without LFS may have two hundred.
_ALIKE_SHOWN = 5


def print_findings(seen: Inspection, print_: Print = print_note_wrapped) -> None:
    """Print everything that was found: errors, warnings, and what is not sent."""
    for _, alike in groupby(seen.findings, lambda found: (found.severity, found.check)):
        found = list(alike)
        for finding in map(in_flags, found[:_ALIKE_SHOWN]):
            print_(f"{finding.message} ({finding.check})", f"{finding.severity}: ")
            print_(finding.hint, "  hint: ")
        more = len(found[_ALIKE_SHOWN:])
        if more:
            print_(f"{more} more like these ({found[0].check})", f"{found[0].severity}: ")
    print_left_out(seen.left_out, print_)


def print_replaced(count: int, job_id: int) -> None:
    """Warn that this many files may not be the ones that the done job has sent."""
    if count:
        what = "1 file" if count == 1 else f"{count} files"
        by = "another" if count == 1 else "others"
        how = f"`uploader verify {job_id}` compares their bytes"
        message = f"{what} may have been replaced since by {by} of the same size and time: {how}"
        print_note_wrapped(message, "warning: ")


def in_flags(finding: Finding) -> Finding:
    """The finding as a command line has it: settings and fields spelled as flags."""
    return replace(finding, message=spelled(finding.message), hint=spelled(finding.hint))


def print_left_out(left_out: Iterable[LeftOut], print_: Print = print_note_wrapped) -> None:
    """Print one line for each reason: its first names and the total size of its files."""
    reasons: dict[str, list[LeftOut]] = {}
    for left in left_out:
        reasons.setdefault(left.why, []).append(left)
    for why, alike in reasons.items():
        names = some([left.path for left in alike], _NAMES_SHOWN)
        total = sum(left.size_bytes or 0 for left in alike)
        sizes = f", {size(total)}" if total else ""
        print_(f"{names} ({spelled(why)}){sizes}", "left out: ")


def print_plan(plan: Plan, columns: int | None) -> None:
    """Print the plan on stdout; ``columns`` is the terminal's width, None if it is not one."""
    manifest = plan.new.manifest
    out(f"model   {plan.model}")
    out(f"folder  {manifest.root}")
    out(f"kind    {plan.new.kind} ({spelled(plan.seen.because)})")
    for line in option_lines(plan.new.options):
        out(f"option  {line}")
    if public := readers(plan.new.create_body):
        out(f"public  {public}")
    out(f"total   {total_of(plan.seen)}")
    for file in manifest.files:
        out(f"{size(file.size_bytes):>12}  {file.path}")
    print_findings(plan.seen, lambda text, lead: out_wrapped(text, columns, lead))


def total_of(seen: Inspection) -> str:
    """``12 files, 3.4 GiB, 2m50s at 20.0 MiB/s (--rate)``."""
    count, ahead = len(seen.manifest.files), seen.forecast
    total = f"{count} file{'s' * (count != 1)}, {size(seen.manifest.size_bytes)}"
    if ahead is None:
        return total
    takes = duration(ahead.takes_s(seen.manifest))
    return f"{total}, {takes} at {size(ahead.rate_bps)}/s ({spelled(ahead.because)})"
