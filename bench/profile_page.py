"""bench/PROFILE.md."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench.contenders import CURL, MEDIA_8, RUN, RUN_PLAIN, VENDOR
from bench.stacks import HZ, KERNEL, KINDS, OTHERS, SENDER, Times

#: By kind, of one round.
Seconds = Mapping[str, float]

_ABOUT = f"""\
`perf record -e cpu-clock -F {HZ}` looked at each command with all its processes and threads;
every sample counts for {1000 / HZ:g} ms of CPU. Figures are medians over the rounds, with the
least and the most. In each round everyone sends the smaller and the larger folder, the same bytes
to the same sink. What a further GiB or file takes is the difference between the two: starting is
not in it. The thread that sends is the one that perf most often found in `tcp_sendmsg` or in what
that called.

- On loopback the sender's thread also does the work of the receiver's TCP, and wakes the receiver.
- Code that no interrupt may interrupt is counted where it lets them through again.
- libcrypto is counted as TLS in the thread that sends over TLS, and as SHA-256 elsewhere. A hash
  that does not keep up is given up (`integrity.sha256 = auto`), and then takes next to nothing.
- OpenSSL sends each TLS record, at most 16 KiB, by a system call of its own.
- `uploader` reads into memory and computes CRC32C there. Mapping the file instead would save that
  copy, but if somebody cut the file short, the process would end (SIGBUS).
- BBR, a congestion control of Linux, lets a timer decide when TCP sends more. CUBIC, which is
  Linux's default, sends at once, as `reno` does.
"""
_LIBRARY = "google-resumable-media, requests, urllib3, http.client: as in `resumable-media 8 MiB`"
_OWN = "uploader, with SQLAlchemy, SQLite, CRC32C and SHA-256: the rest"


@dataclass(frozen=True)
class Part:
    """By contender and round: what the smaller folder took, and each further unit."""

    starting: dict[str, list[Times]]
    further: dict[str, list[Times]]


def by_kind(
    found: Sequence[Times], threads: Collection[str] = (SENDER, OTHERS), scale: float = 1.0
) -> list[Seconds]:
    """The sums over some threads."""
    return [
        {kind: scale * sum(one.get((who, kind), 0) for who in threads) for kind in KINDS}
        for one in found
    ]


def page(facts: Mapping[str, str], large: Mapping[str, Part], many: Part, files: int) -> str:
    """The whole page; ``large`` by heading, and ``files`` is how many the larger folder has."""
    return "\n".join(_lines(facts, large, many, files)) + "\n"


def _lines(
    facts: Mapping[str, str], large: Mapping[str, Part], many: Part, files: int
) -> Iterator[str]:
    yield "# Where the CPU goes"
    yield ""
    yield "`make bench-profile` wrote this page."
    yield ""
    yield from (f"- {name}: {value}" for name, value in facts.items())
    yield ""
    yield from _ABOUT.splitlines()
    for title, part in large.items():
        yield ""
        yield f"## Each further GiB of one file, {title}: seconds of CPU"
        yield ""
        yield from _one_file(part)
    yield ""
    yield f"## {files} files of 100 KB, HTTP, 0 ms per request"
    yield ""
    yield from _many_files(many)


def _one_file(part: Part) -> Iterator[str]:
    further = part.further
    whole = {name: by_kind(found) for name, found in further.items()}
    yield from _table(
        (f"`{RUN}`: {SENDER}", by_kind(further[RUN], (SENDER,))),
        (f"its {OTHERS}", by_kind(further[RUN], (OTHERS,))),
        (f"`{RUN_PLAIN}`: {SENDER}", by_kind(further[RUN_PLAIN], (SENDER,))),
        (f"its {OTHERS}", by_kind(further[RUN_PLAIN], (OTHERS,))),
        (f"`{CURL}`", whole[CURL]),
        (f"`{RUN}` less `{CURL}`", _less(whole[RUN], whole[CURL])),
    )
    yield ""
    curls = _sums(whole[CURL])
    for name in (RUN, RUN_PLAIN):
        ratios = [ours / its for ours, its in zip(_sums(whole[name]), curls, strict=True)]
        yield f"- `{name}` through `{CURL}`: {_shown(ratios)}"


def _many_files(part: Part) -> Iterator[str]:
    names = (RUN, VENDOR, MEDIA_8)
    there = [name for name in names if name in part.further]
    further = {name: by_kind(part.further[name], scale=1000) for name in there}
    yield "Starting, which is sending one such file: seconds of CPU."
    yield ""
    yield from _table(*((f"`{name}`", by_kind(part.starting[name])) for name in there))
    yield ""
    yield "Each further file: milliseconds of CPU."
    yield ""
    yield from _table(*((f"`{name}`", further[name]) for name in there))
    yield ""
    yield from _whose(further[RUN], further[MEDIA_8])


def _whose(ours: Sequence[Seconds], libraries: Sequence[Seconds]) -> Iterator[str]:
    """The library by itself is the measure of its share: it makes the same two requests."""
    together = _sums(ours)
    kernel = _sums(ours, KERNEL)
    outside = tuple(kind for kind in KINDS if kind not in KERNEL)
    library = _sums(libraries, outside)
    own = [a - b - c for a, b, c in zip(together, kernel, library, strict=True)]
    yield f"| a further file of `{RUN}` | ms of CPU | % |"
    yield "|---|---|---|"
    for what, took in (("the kernel", kernel), (_LIBRARY, library), (_OWN, own)):
        shares = [100 * one / all_ for one, all_ in zip(took, together, strict=True)]
        yield f"| {what} | {_shown(took)} | {statistics.median(shares):.0f} |"


def _table(*columns: tuple[str, Sequence[Seconds]]) -> Iterator[str]:
    yield f"| | {' | '.join(title for title, _ in columns)} |"
    yield f"|---|{'---|' * len(columns)}"
    for kind in KINDS:
        cells = [_shown([one[kind] for one in rounds]) for _, rounds in columns]
        if any(cells):
            yield f"| {kind} | {' | '.join(cells)} |"
    yield f"| together | {' | '.join(_shown(_sums(rounds)) for _, rounds in columns)} |"


def _sums(rounds: Sequence[Seconds], kinds: Sequence[str] = KINDS) -> list[float]:
    return [sum(one[kind] for kind in kinds) for one in rounds]


def _less(ours: Sequence[Seconds], theirs: Sequence[Seconds]) -> list[Seconds]:
    return [
        {kind: one[kind] - other[kind] for kind in KINDS}
        for one, other in zip(ours, theirs, strict=True)
    ]


def _shown(values: Sequence[float]) -> str:
    """Nothing for what is nothing in every round."""
    middle, least, most = (round(of(values), 2) + 0.0 for of in (statistics.median, min, max))
    return f"{middle:.2f} ({least:.2f} to {most:.2f})" if least or most else ""
