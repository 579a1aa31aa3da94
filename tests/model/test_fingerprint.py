from __future__ import annotations

import os
from datetime import UTC, datetime

import pytest

from uploader.core.job import WRITTEN
from uploader.model.fingerprint import (
    fingerprint_of,
    found_again,
    is_linked,
    is_written,
    may_hide_a_write,
    plain,
    same,
    same_inode,
    surely_same,
    unless_only_changed,
    written,
)


def facts(mtime_ns: int, inode: int, device: int = 1, ctime_ns: int = 5) -> os.stat_result:
    return os.stat_result(
        (0o100644, inode, device, 1, 0, 0, 2, 0, 0, 0, 0.0, 0.0, 0.0, 0, mtime_ns, ctime_ns)
    )


def test_without_a_change_time_it_is_the_text_that_older_stores_were_given() -> None:
    """Migration 0002 spells it out once more."""
    found = facts(1_700_000_000_123_456_789, 42, ctime_ns=1_700_000_000_223_456_789)
    assert fingerprint_of(found, lasting=True) == "local:1700000000123456789:42"
    assert fingerprint_of(found) == "local:1700000000123456789:42.1700000000223456789"


def test_a_file_number_of_all_64_bits_is_kept_whole() -> None:
    assert fingerprint_of(facts(-5, 2**64 - 1, ctime_ns=-6)) == f"local:-5:{2**64 - 1}.-6"


@pytest.mark.parametrize(
    ("mtime_ns", "inode", "expected"), [(7, 9, True), (7, 10, True), (8, 9, False), (-7, 9, False)]
)
def test_another_time_is_another_file_and_another_inode_is_not(
    mtime_ns: int, inode: int, expected: bool
) -> None:
    known, found = fingerprint_of(facts(7, 9)), fingerprint_of(facts(mtime_ns, inode))
    assert same(known, found) == same(found, known) == expected
    assert same_inode(known, written(found)) == (inode == 9 and expected)


@pytest.mark.parametrize("end", ["", WRITTEN])
@pytest.mark.parametrize(
    ("known", "found", "expected"),
    [
        ("local:7:9.5", "local:7:9.5", True),
        ("local:7:9.5", "local:7:9.6", False),
        ("local:7:9.5", "local:7:9.-5", False),
        ("local:7:9.5", "local:7:8.5", False),
        ("local:7:9.5", "local:6:9.5", False),
        ("linked:7:9.5", "linked:7:9.6", False),
        ("linked@1:7:9.5", "linked@1:7:9.5", True),
        ("linked@1:7:9.5", "linked@2:7:9.5", False),
        ("linked:7:9.5", "linked@2:7:9.5", True),
        ("linked@2:7:9.5", "linked@2@a:7:9.5", True),
        ("linked@1@a:7:9.5", "linked@1@a:7:9.5", True),
        ("linked@1@a:7:9.5", "linked@1@b:7:9.5", False),
        ("linked:7:9.5", "linked@1@b:7:9.5", True),
        ("local:7:9", "local:7:9.6", True),
        ("local:7:9", "local:7:9", True),
        ("local:7:9", "local:7:8.6", False),
        ("local:7:9", "local:7:8", False),
        ("local:7:9", "local:7:95", False),
    ],
)
def test_another_change_time_is_surely_the_same_file_only_if_one_is_not_known(
    known: str, found: str, expected: bool, end: str
) -> None:
    assert surely_same(known, found + end) == surely_same(found, known + end) == expected


@pytest.mark.parametrize(
    ("known", "now", "expected"),
    [
        ("local:7:9.5", facts(7, 9, ctime_ns=6), "local:7:9.6"),
        ("local:7:9", facts(7, 9, ctime_ns=6), "local:7:9"),
        ("", facts(7, 9, ctime_ns=6), "local:7:9"),
    ],
)
def test_a_file_that_is_opened_has_a_fingerprint_like_the_one_it_had(
    known: str, now: os.stat_result, expected: str
) -> None:
    assert found_again(known, now) == expected


@pytest.mark.parametrize(
    ("known", "found", "expected"),
    [
        ("local:7:9.5", "local:7:9.6", "local:7:9.5"),
        ("local:7:9.5", "local:7:9.6:written", "local:7:9.5:written"),
        ("local:7:9.5:written", "local:7:9.6", "local:7:9.5"),
        ("local:7:9", "local:7:9", "local:7:9"),
        ("local:7:9.5", "local:7:8.5", "local:7:8.5"),
        ("local:7:9.5", "local:8:9.6", "local:8:9.6"),
    ],
)
def test_where_the_change_time_does_not_count_the_text_stays(
    known: str, found: str, expected: str
) -> None:
    assert unless_only_changed(known, found) == expected


def test_a_disk_that_has_another_number_after_a_restart_holds_the_same_files() -> None:
    before, after = facts(7, 9, device=1), facts(7, 9, device=99)
    for place in ("", "/a"):
        assert fingerprint_of(before, place) == fingerprint_of(after, place)


def test_a_link_that_is_opened_again_has_the_place_where_it_leads_now() -> None:
    known, now = fingerprint_of(facts(7, 9), "/a"), facts(8, 10, ctime_ns=6)
    assert found_again(known, now, "/a") == fingerprint_of(now, "/a")
    assert found_again(known, now, "/a") != found_again(known, now, "/b")
    assert found_again("linked:7:9:written", now, "/a") == fingerprint_of(now, "/a", lasting=True)


@pytest.mark.parametrize("linked", [False, True])
def test_a_writer_does_not_make_it_another_file(linked: bool) -> None:
    known = fingerprint_of(facts(7, 9), "/a" if linked else "")
    found = written(known)
    assert same(known, found)
    assert same(found, known)
    assert not same(found, fingerprint_of(facts(8, 9)))
    assert (is_written(known), is_written(found)) == (False, True)
    assert plain(found) == plain(known) == known
    assert written(found) == found
    assert is_linked(found) == linked


@pytest.mark.parametrize(
    ("mtime_ns", "ctime_ns", "expected"),
    [
        (50 * 10**9, 50 * 10**9, True),
        (3 * 10**9, 50 * 10**9, True),  # its modification time was set
        (3 * 10**9 + 1, 50 * 10**9, True),
        (48 * 10**9, 48 * 10**9, True),
        (51 * 10**9, 51 * 10**9, True),  # another machine's clock is ahead
        (47 * 10**9, 47 * 10**9, False),
        (50 * 10**9, 50 * 10**9 + 1, False),  # the file system counts finely
        (50 * 10**9 + 1, 50 * 10**9 + 1, False),
    ],
)
def test_a_file_that_was_written_this_moment_may_be_so_again_if_its_times_are_coarse(
    mtime_ns: int, ctime_ns: int, *, expected: bool
) -> None:
    now = datetime.fromtimestamp(50, UTC)
    assert may_hide_a_write(facts(mtime_ns, 9, ctime_ns=ctime_ns), now) is expected
