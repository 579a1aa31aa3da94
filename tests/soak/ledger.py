"""What a soak counts, what it believes, and the table at its end.

Every figure is the sandbox's or the file system's; the product's own word is only ever checked.
"""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

from tests.soak.plan import GRANULE, MIB, RoundPlan
from uploader.sandbox.server import Sandbox
from uploader.sandbox.world import Model, StorageObject

_CHUNK = MIB


@dataclass
class Cost:
    """Body bytes that sessions sent twice, and what made them do so."""

    objects: int = 0
    bytes_resent: int = 0
    cut_puts: int = 0
    kills: int = 0

    def per_kill(self) -> int:
        return round(self.bytes_resent / max(1, self.kills))


@dataclass
class Ledger:
    kills: int = 0
    events: Counter[str] = field(default_factory=Counter)
    rounds: Counter[str] = field(default_factory=Counter)
    jobs_enqueued: int = 0
    jobs_done: int = 0
    bytes_uploaded: int = 0
    bytes_lost: int = 0
    bytes_below_confirmed: int = 0
    looks: int = 0
    claims_beyond: int = 0
    #: Sessions that faults made waste bytes are in neither: `alone` is rounds of kills only.
    alone: Cost = field(default_factory=Cost)
    mixed: Cost = field(default_factory=Cost)
    recoveries_s: list[float] = field(default_factory=list)
    longest_without_worker_s: float = 0.0
    longest_drain_s: float = 0.0
    broken: list[str] = field(default_factory=list)

    def settle(
        self, box: Sandbox, plan: RoundPlan, model: Model, source: Path, wasted: set[str]
    ) -> None:
        """A job is done: compare and count every object of its model, then delete all of it.

        ``wasted`` are the objects that faults made sessions send again.
        """
        for file in sorted(source.iterdir()):
            found = box.world.objects[model.keys[file.name]]
            self._compare(file, found.path)
            self.bytes_below_confirmed += found.bytes_below_confirmed
            if plan.url_kind != "put" and found.key not in wasted:
                cost = self.alone if plan.disturbances == "kills" else self.mixed
                self._count(cost, file.stat().st_size, found)
        self.jobs_done += 1
        with box.world.lock:
            box.world.forget_objects(model)
        shutil.rmtree(source)

    def _compare(self, file: Path, stored: Path) -> None:
        lost = different_bytes(file, stored)
        if lost:
            self.broken.append(f"{stored.name} differs from its source in {lost} bytes")
        self.bytes_lost += lost
        self.bytes_uploaded += file.stat().st_size

    def _count(self, cost: Cost, size: int, found: StorageObject) -> None:
        resent = found.body_bytes_read - size
        cost.objects += 1
        cost.bytes_resent += resent
        cost.cut_puts += found.cuts
        if not 0 <= resent <= found.cuts * GRANULE:
            what = f"{found.key}: {resent} bytes sent again for {found.cuts} cuts"
            self.broken.append(what)

    def judge(self, box: Sandbox) -> None:
        """The promises that the sandbox counts for all jobs together."""
        report = box.report()
        self.bytes_below_confirmed += report["bytes_below_confirmed"]
        expected = {
            "models created": (report["creates"], self.jobs_enqueued),
            "jobs done": (self.jobs_done, self.jobs_enqueued),
            "early validations": (report["early_validations"], 0),
            "keys leaked": (report["leaked_keys"], 0),
            "bytes below the confirmed offset": (self.bytes_below_confirmed, 0),
            "breaches of the protocol": (report["refused"], []),
        }
        for what, (seen, promised) in expected.items():
            if seen != promised:
                self.broken.append(f"{what}: {seen} instead of {promised}")

    def line(self, faults: int) -> str:
        return (
            f"{self.jobs_done} of {self.jobs_enqueued} jobs done, {self.bytes_uploaded // MIB} MiB,"
            f" {self.kills} kills, {self.events['network cuts']} network cuts, {faults} faults,"
            f" {len(self.broken)} promises broken"
        )

    def table(self, box: Sandbox, faults: list[str]) -> list[str]:
        report, alone, mixed = box.report(), self.alone, self.mixed
        created = report["creates"] / max(1, self.jobs_enqueued)
        resent = f"{alone.per_kill():,} ({alone.kills} kills, {alone.cut_puts} PUTs cut)"
        per_put = round((alone.bytes_resent + mixed.bytes_resent) / max(1, self._cut_puts()))
        longest = max(self.recoveries_s, default=0.0)
        rounds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.rounds.items()))
        rows = [
            ("rounds", rounds),
            ("kills survived", f"{self.kills}"),
            *((what, f"{count}") for what, count in sorted(self.events.items())),
            ("faults injected", f"{len(faults)} of {len(set(faults))} kinds"),
            ("jobs finished", f"{self.jobs_done} of {self.jobs_enqueued}"),
            ("bytes uploaded", f"{self.bytes_uploaded:,}"),
            ("bytes lost", f"{self.bytes_lost:,}"),
            ("bytes re-sent per kill", resent),
            ("bytes re-sent per PUT cut", f"{per_put:,} of {GRANULE:,} ({self._cut_puts()} PUTs)"),
            ("bytes below the confirmed offset", f"{self.bytes_below_confirmed:,}"),
            ("early validations", f"{report['early_validations']}"),
            ("claims beyond the server", f"{self.claims_beyond} in {self.looks} looks"),
            ("models created per job", f"{created:g}"),
            ("longest recovery", f"{longest:.1f} s of {len(self.recoveries_s)}"),
            ("longest drain", f"{self.longest_drain_s:.1f} s"),
            ("longest without a worker", f"{self.longest_without_worker_s:.1f} s"),
        ]
        return [f"  {what:34}{value}" for what, value in rows]

    def _cut_puts(self) -> int:
        return self.alone.cut_puts + self.mixed.cut_puts


def different_bytes(one: Path, other: Path) -> int:
    """How many bytes differ or are there in one of the files only."""
    if not other.exists():
        return one.stat().st_size
    count = 0
    with one.open("rb") as left, other.open("rb") as right:
        while (a := left.read(_CHUNK)) + (b := right.read(_CHUNK)):
            if a != b:
                count += sum(x != y for x, y in zip_longest(a, b))
    return count
