from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from bench.contenders import Contender, Task
from bench.measure import ROOT, Failed, Network, Run, measured, sink
from bench.report import Outcome, Results
from bench.scenarios import FULL, QUICK, Scenario, compare
from bench.targets import Target
from bench.text import page

GOOD = "import urllib.request as r, sys; r.urlopen(r.Request(sys.argv[1], b'12345', method='PUT'))"


@pytest.mark.long
def test_the_harness_sends_a_tiny_model_and_writes_what_it_saw(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench", "--set", "tiny", "--rounds", "1"]
    command += ["--contenders", "uploader run", "curl", "resumable-media 8 MiB"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "results.json").read_text())["outcomes"]["tiny"]
    assert found["failures"] == {}
    assert {"uploader run", "resumable-media 8 MiB"} <= found["runs"].keys()
    for (run,) in found["runs"].values():
        assert run["wall_s"] > 0 < run["cpu_s"]
        assert run["requests"] >= 6
    assert "| uploader run |" in (tmp_path / "RESULTS.md").read_text()


def test_a_run_that_does_not_deliver_every_byte_does_not_count(tmp_path: Path) -> None:
    with sink(Network(), tmp_path) as where:
        command = [sys.executable, "-c", GOOD, f"{where.url}/bucket/m/f"]
        assert measured(where, command, {}, 5, tmp_path / "log").requests == 1
        with pytest.raises(Failed, match="5 of 6 bytes"):
            measured(where, command, {}, 6, tmp_path / "log")
        with pytest.raises(Failed, match="exit 3"):
            measured(where, [sys.executable, "-c", "exit(3)"], {}, 0, tmp_path / "log")


@pytest.mark.timed
def test_the_sink_delays_answers_and_caps_connections_as_it_was_told(tmp_path: Path) -> None:
    body = "import urllib.request as r, sys; r.urlopen(r.Request(sys.argv[1], bytes(1 << 20)))"
    body = body.replace("bytes(1 << 20))", "bytes(1 << 20), method='PUT')")
    with sink(Network(latency_ms=300, connection_mb_s=2), tmp_path) as where:
        command = [sys.executable, "-c", body, f"{where.url}/bucket/m/f"]
        assert measured(where, command, {}, 1 << 20, tmp_path / "log").wall_s > 0.3 + 0.5


@pytest.mark.timed
def test_the_sink_caps_the_link_that_all_connections_share(tmp_path: Path) -> None:
    body = "import urllib.request as r, sys; r.urlopen(r.Request(sys.argv[1], bytes(1 << 20)))"
    body = body.replace("bytes(1 << 20))", "bytes(1 << 20), method='PUT')")
    with sink(Network(link_mb_s=2), tmp_path) as where:
        both = [sys.executable, "-c", body, f"{where.url}/bucket/m/f"]
        command = ["sh", "-c", f"{shlex.join(both)} & {shlex.join(both)}; wait"]
        assert measured(where, command, {}, 2 << 20, tmp_path / "log").wall_s > 1.0


#: Sends every file of a folder, as one that looks at what it does leaves traces of it.
SENDS = r"""
import pathlib, sys, urllib.request as r
folder, url, scratch = map(str, sys.argv[1:])
for file in pathlib.Path(folder).iterdir():
    where = f"{url}/bucket/m/{file.name}"
    r.urlopen(r.Request(where, file.read_bytes(), method="PUT"))
pathlib.Path(scratch, "trace").write_text("1 fsync(3) = 0\n2 fdatasync(4) = 0\n")
print("info files in flight: 4 \u2192 6 files: +18 %")
print("info files in flight: 6 \u2192 9 \u2192 6 files: -2 %")
"""


def sends(task: Task) -> list[str]:
    return [sys.executable, "-c", SENDS, str(task.folder), task.sink.url, str(task.scratch)]


def test_one_that_fails_has_no_other_turn_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns: list[Task] = []

    def fails(task: Task) -> list[str]:
        turns.append(task)
        return [sys.executable, "-c", "exit(3)"]

    found = {"good": Contender("good", sends), "bad": Contender("bad", fails)}
    monkeypatch.setattr("bench.scenarios.CONTENDERS", found)
    tiny = Scenario("tiny", 1, 4096, Network(), ("bad", "good"))
    runs, failures = compare(tiny, 2, {}, tmp_path)
    assert len(turns) == 1
    assert failures.keys() == {"bad"}
    assert [(run.syncs, run.in_flight) for run in runs["good"]] == [(2, 6)] * 2
    assert [*tmp_path.iterdir()] == []


def test_no_round_but_the_first_begins_when_the_time_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.scenarios.CONTENDERS", {"good": Contender("good", sends)})
    tiny = Scenario("tiny", 1, 4096, Network(), ("good",))
    runs, _ = compare(tiny, 5, {}, tmp_path, ends_s=0.0)
    assert len(runs["good"]) == 1


def run(wall_s: float, cpu_s: float = 1.0) -> Run:
    return Run(wall_s, cpu_s, 50.0, 10, 1, 0.1)


def outcome(name: str, shard_bytes: int, **runs: list[Run]) -> tuple[str, Outcome]:
    scenario = Scenario(name, 1, shard_bytes, Network(), tuple(runs))
    named = {who.replace("_", " "): found for who, found in runs.items()}
    return name, Outcome(scenario, named, {}, 0.5)


def test_ratios_compare_what_ran_in_the_same_round() -> None:
    _, found = outcome(
        "x", 1, uploader_run=[run(2), run(30), run(4)], curl=[run(1), run(10), run(4)]
    )
    assert found.ratio("uploader run", "curl", lambda one: one.wall_s) == 2
    assert found.ratio("rclone", "curl", lambda one: one.wall_s) is None


def test_a_further_gib_is_what_192_mib_more_took() -> None:
    parts = [
        outcome("http-64", 64 << 20, curl=[run(1, 0.5)] * 3),
        outcome("http-256", 256 << 20, curl=[run(1, 0.8)] * 3),
    ]
    results = Results({}, {}, dict(parts))
    assert results.further("http", "curl", lambda one: one.cpu_s) == pytest.approx(1.6)
    assert results.further("tls", "curl", lambda one: one.cpu_s) is None


@pytest.mark.parametrize(
    ("figure", "at_least", "verdict"),
    [
        (1.4, False, "met"),
        (1.6, False, "**not met.** So it is."),
        (1.4, True, "**not met.** So it is."),
        (1.6, True, "met"),
        (None, False, "not measured in this run"),
    ],
)
def test_a_target_says_whether_it_is_met_and_else_why(
    figure: float | None, at_least: bool, verdict: str
) -> None:
    target = Target("x", 1.5, lambda _: figure, at_least, "So it is.")
    assert target.row(Results({}, {})).endswith(f"| {verdict} |")


def test_the_page_says_who_was_not_there_and_who_failed() -> None:
    name, found = outcome("http-64", 64 << 20, curl=[run(1)] * 5)
    failed = Outcome(found.scenario, found.runs, {"rclone": "exit 1\nand more"}, 9.0)
    text = page(
        Results({"date": "today"}, {"vendor's script": "the page was not there"}, {name: failed}),
        plotted=False,
    )
    assert "- vendor's script: the page was not there" in text
    assert "rclone failed here: exit 1\n" in text
    assert "9.0 to 9.0: other work ran too" in text


def test_no_scenario_is_without_uploader_and_names_are_unique() -> None:
    for chosen in (FULL, QUICK):
        for scenario in chosen:
            assert {"uploader run", "uploader run, traced"} & {*scenario.contenders}
        assert len({scenario.name for scenario in chosen}) == len(chosen)
