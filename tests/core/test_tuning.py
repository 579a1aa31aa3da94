"""The number of files in flight: each decision as a table, and the search on simulated links."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from uploader.core.tuning import MOST, START, Gauge, Look, Measured, Tuning, tune

MB = 1_000_000
MIB = 1024 * 1024

# -- the gauge -------------------------------------------------------------------------------------


def test_the_bytes_of_a_put_count_evenly_over_the_time_that_it_took() -> None:
    gauge = Gauge()
    gauge.saw("a", 0, 0)
    gauge.saw("a", 10, 100)  # from 0 to 10
    gauge.restart(12)
    assert gauge.rate(15) == (0, 0), "what is under way is not known yet"
    gauge.saw("a", 20, 200)
    assert gauge.rate(25) == (0, 0), "it began before, under other conditions"
    gauge.saw("a", 30, 280)
    assert gauge.rate(35) == (10, 8)
    gauge.saw("a", 40, 280, ended=True)
    assert gauge.rate(45) == (25, 80 / 25)


def test_only_what_is_known_of_every_file_counts() -> None:
    gauge = Gauge()
    for file in "ab":
        gauge.saw(file, 0, 0)
    gauge.saw("a", 4, 40)
    gauge.saw("b", 8, 80)
    assert gauge.rate(9) == (4, 20)
    gauge.saw("a", 12, 120)
    assert gauge.rate(12) == (8, 20)


def test_files_that_come_and_go_between_two_looks_count_too() -> None:
    gauge = Gauge()
    gauge.restart(5)
    for second in range(6, 16):
        for number in range(30):
            gauge.saw((second, number), second, 1000, ended=True)
    assert gauge.rate(15) == (10, 30_000)
    assert gauge.confirmations == 300


def test_a_file_that_began_later_counts_from_then_on() -> None:
    gauge = Gauge()
    gauge.saw("a", 6, 0)
    gauge.saw("a", 10, 40)
    assert gauge.rate(20) == (10, 4)


# -- one decision ----------------------------------------------------------------------------------

MEASURED = Look(100.0, span_s=6.0, rate_bps=1000.0)
TRYING = Tuning(6, before=Measured(4, 1000.0))


@pytest.mark.parametrize(
    ("tuning", "look", "files", "message"),
    [
        (Tuning(), MEASURED, 6, ""),
        (Tuning(), replace(MEASURED, span_s=4.0), 4, ""),
        # Many confirmations say as much in less time.
        (Tuning(), replace(MEASURED, span_s=1.0, confirmations=32), 6, ""),
        (Tuning(), replace(MEASURED, span_s=1.0, confirmations=31), 4, ""),
        (TRYING, replace(MEASURED, rate_bps=1180.0), 6, "4 → 6 files: +18 %"),
        (TRYING, replace(MEASURED, rate_bps=1149.0), 4, "4 → 6 → 4 files: +15 %"),
        (TRYING, replace(MEASURED, rate_bps=500.0), 4, "4 → 6 → 4 files: -50 %"),
        # The next smaller step follows one that did not help, then a rest.
        (Tuning(step=1), MEASURED, 5, ""),
        (Tuning(10, step=1), MEASURED, 12, ""),
        (Tuning(1), MEASURED, 2, ""),
        (Tuning(rests_until_s=100.5), MEASURED, 4, ""),
        (Tuning(MOST), MEASURED, MOST, ""),
        (Tuning(MOST - 1), MEASURED, MOST, ""),
        # Nothing is learned while a limit binds, or while no file waits for a slot.
        (Tuning(), replace(MEASURED, limited=True), 4, ""),
        (TRYING, replace(MEASURED, limited=True), 4, ""),
        (TRYING, replace(MEASURED, free=True), 4, ""),
        # A service that confirms nothing gets no more files for it.
        (Tuning(), replace(MEASURED, rate_bps=0.0), 4, ""),
        # Trouble halves at once, also under a limit, but only once, and never below 1.
        (Tuning(8), Look(100.0, trouble="why"), 4, "8 → 4 files: why"),
        (Tuning(8), Look(100.0, trouble="why", limited=True), 4, "8 → 4 files: why"),
        (Tuning(2), Look(100.0, trouble="why"), 1, "2 → 1 file: why"),
        (Tuning(1), Look(100.0, trouble="why"), 1, ""),
        (Tuning(8, calm_until_s=101), Look(100.0, trouble="why"), 8, ""),
        # From then on it grows by one.
        (Tuning(8, recovers=True), MEASURED, 9, ""),
    ],
)
def test_one_look_leads_to_one_decision(
    tuning: Tuning, look: Look, files: int, message: str
) -> None:
    decision = tune(tuning, look)
    assert (decision.tuning.files, decision.message) == (files, message)
    if decision.tuning.files != tuning.files:
        assert decision.restart, "another number is measured anew"


def test_after_trouble_nothing_is_tried_for_a_while() -> None:
    after = tune(Tuning(8), Look(100.0, trouble="why")).tuning
    assert tune(after, replace(MEASURED, at_s=129.0)).tuning.files == 4
    assert tune(after, replace(MEASURED, at_s=130.0)).tuning.files == 5


# -- the search on a link --------------------------------------------------------------------------


@dataclass
class File:
    """One file in flight: how much of its PUT is sent, and what was confirmed when."""

    sent: float = 0.0
    confirmed: int = 0
    confirmed_at_s: float = 0.0
    waits_until_s: float = 0.0
    ended: bool = False


@dataclass
class Link:
    """So many bytes per second in all and per connection; each PUT also takes ``answer_s``."""

    total: float
    each: float = float("inf")
    answer_s: float = 0.0
    put_bytes: int = 64 * MIB

    def search(self, seconds: int, tuning: Tuning | None = None) -> tuple[Tuning, list[str]]:
        """The state after so many seconds with files that never end, and what was said."""
        tuning, gauge, said, files = tuning or Tuning(), Gauge(), list[str](), list[File]()
        for second in range(seconds):
            for part in range(20):
                self.send(second + part / 20, files, tuning.files)
            for file in files:
                gauge.saw(id(file), file.confirmed_at_s, file.confirmed, ended=file.ended)
            files = [file for file in files if not file.ended]
            free = len(files) > tuning.files
            look = Look(second + 1, *gauge.rate(second + 1), gauge.confirmations, free=free)
            decision = tune(tuning, look)
            tuning = decision.tuning
            if decision.restart:
                gauge.restart(look.at_s)
            said += [decision.message] * bool(decision.message)
        return tuning, said

    def send(self, now_s: float, files: list[File], count: int) -> None:
        """A twentieth of a second; those in excess end with their PUTs."""
        files += [File(confirmed_at_s=now_s) for _ in range(count - len(files))]
        sending = [file for file in files if file.waits_until_s <= now_s and not file.ended]
        for file in sending:
            file.sent += min(self.each, self.total / len(sending)) / 20
            if file.sent >= self.put_bytes:
                file.sent -= self.put_bytes
                file.confirmed += self.put_bytes
                file.confirmed_at_s = now_s
                file.waits_until_s = now_s + self.answer_s
                file.ended = sum(not one.ended for one in files) > count


@pytest.mark.parametrize(
    ("link", "low", "high"),
    [
        # A cap of 20 MB/s per connection: as many as fill the link, and not many more.
        (Link(100 * MB, 20 * MB), 5, 6),
        (Link(90 * MB, 20 * MB), 5, 6),
        (Link(200 * MB, 20 * MB), 10, 14),
        (Link(400 * MB, 20 * MB), 19, 28),
        (Link(60 * MB, 20 * MB), 4, 4),
        # One link that all share: more files do not help.
        (Link(100 * MB), START, START),
        (Link(1 * MB, put_bytes=8 * MIB), START, START),
        # A slow service: what limits is how long it takes to answer.
        (Link(1000 * MB, answer_s=0.5, put_bytes=1 * MIB), 10, MOST),
    ],
)
def test_the_search_finds_the_number_that_fills_the_link(link: Link, low: int, high: int) -> None:
    found, said = link.search(290)
    settled = found.before.files if found.before else found.files
    assert low <= settled <= high, said
    assert len(said) < 12


def test_it_recovers_from_trouble_one_file_at_a_time() -> None:
    link = Link(100 * MB, 20 * MB)
    tuning, _ = link.search(100)
    assert tuning.files in (5, 6)
    halved = tune(tuning, Look(0.0, trouble="why")).tuning
    assert halved.files < 4
    found, said = link.search(200, halved)
    assert found.files in (5, 6)
    assert said[0].startswith(f"{halved.files} → {halved.files + 1} files: +3")
