from __future__ import annotations

import os
from pathlib import Path

import pytest

from uploader.model.fingerprint import (
    fingerprint_of,
    is_linked,
    is_written,
    plain,
    same,
    same_inode,
    written,
)


def facts(mtime_ns: int, inode: int, device: int = 1) -> os.stat_result:
    return os.stat_result(
        (0o100644, inode, device, 1, 0, 0, 2, 0, 0, 0, 0.0, 0.0, 0.0, 0, mtime_ns, 0)
    )


def test_a_fingerprint_is_the_text_that_older_stores_were_given() -> None:
    """Migration 0002 spells it out once more."""
    assert fingerprint_of(facts(1_700_000_000_123_456_789, 42)) == "local:1700000000123456789:42"


def test_a_file_number_of_all_64_bits_is_kept_whole(tmp_path: Path) -> None:
    del tmp_path
    assert fingerprint_of(facts(-5, 2**64 - 1)) == f"local:-5:{2**64 - 1}"


@pytest.mark.parametrize(
    ("mtime_ns", "inode", "expected"), [(7, 9, True), (7, 10, True), (8, 9, False), (-7, 9, False)]
)
def test_another_time_is_another_file_and_another_inode_is_not(
    mtime_ns: int, inode: int, expected: bool
) -> None:
    known, found = fingerprint_of(facts(7, 9)), fingerprint_of(facts(mtime_ns, inode))
    assert same(known, found) == same(found, known) == expected
    assert same_inode(known, written(found)) == (inode == 9)


def test_a_disk_that_has_another_number_after_a_restart_holds_the_same_files() -> None:
    before, after = facts(7, 9, device=1), facts(7, 9, device=99)
    for linked in (False, True):
        assert fingerprint_of(before, linked=linked) == fingerprint_of(after, linked=linked)


@pytest.mark.parametrize("linked", [False, True])
def test_a_writer_does_not_make_it_another_file(linked: bool) -> None:
    known = fingerprint_of(facts(7, 9), linked=linked)
    found = written(known)
    assert same(known, found)
    assert same(found, known)
    assert not same(found, fingerprint_of(facts(8, 9)))
    assert (is_written(known), is_written(found)) == (False, True)
    assert plain(found) == plain(known) == known
    assert written(found) == found
    assert is_linked(found) == linked
