"""One line for every mistake, with its cure."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.settings.conftest import refusal
from uploader.core.errors import UsageError
from uploader.settings.load import load

MISTAKES = [
    ("max_files = 3", "unknown setting max_files", "transfer.max_files"),
    ("[transfer]\nmax_filez = 3", "unknown setting transfer.max_filez", "transfer.max_files"),
    ("[transfr]\nmax_files = 3", "unknown setting transfr", "transfer"),
    ("[zzzzzzz]", "unknown setting zzzzzzz", "config.example.toml"),
    ("[fireworks]\napi_key = 'x'", "unknown setting fireworks.api_key", "api_key_file"),
    ("transfer = 3", "'transfer' is a section", "[transfer]"),
    ("[transfer]\nmax_files = 0", "transfer.max_files cannot be 0", "from 1 to 256"),
    ("[transfer]\nmax_files = 'many'", "transfer.max_files cannot be many", "whole number"),
    ("[transfer]\nmax_files = [1]", "transfer.max_files cannot be [1]", "whole number"),
    ("[transfer]\nmax_files = true", "transfer.max_files cannot be True", "number"),
    ("[transfer]\nchunk_size = '1MB'", "transfer.chunk_size cannot be 1MB", "256KiB"),
    ("[transfer]\nslowest_uplink = '1B/s'", "transfer.slowest_uplink cannot be 1B/s", "1KiB/s"),
    ("[transfer]\nchunk_size = 0", "transfer.chunk_size cannot be 0", "256KiB"),
    ("[transfer]\nchunk_size = '64mb'", "transfer.chunk_size cannot be 64mb", "64MiB"),
    ("[transfer]\nbandwidth_limit = '1B/s'", "transfer.bandwidth_limit cannot", "8KiB/s"),
    ("[transfer]\nbandwidth_limit = 'fast'", "transfer.bandwidth_limit cannot", "20MB/s"),
    ("[transfer]\nbandwidth_limit = 0", "transfer.bandwidth_limit cannot be 0", "20MB/s"),
    ("[transfer]\nbandwidth_limit = '-1MB/s'", "transfer.bandwidth_limit cannot be -1MB/s", "20MB"),
    ("[transfer]\nbandwidth_limit = '08:00'", "transfer.bandwidth_limit cannot", "20MB/s"),
    ("[transfer]\nbandwidth_limit = '08:00,off 9'", "transfer.bandwidth_limit cannot", "19:00,off"),
    ("[transfer]\nbandwidth_limit = '8:60,off'", "transfer.bandwidth_limit cannot", "23:59"),
    ("[transfer]\nbandwidth_limit = 'Mo-08:00,off'", "transfer.bandwidth_limit", "Mon, Tue, Wed"),
    (
        "[transfer]\nbandwidth_limit = '08:00,off Fri-08:00,1MB/s'",
        "transfer.bandwidth_limit",
        "two entries begin on Fri-08:00",
    ),
    ("[transfer]\nslowest_uplink = 0", "transfer.slowest_uplink cannot be 0", '"off"'),
    ("[transfer]\nchunk_size = '300KiB'", "transfer.chunk_size cannot be 300KiB", '"64MiB"'),
    ("[validation]\npoll_interval = '5 parsecs'", "validation.poll_interval cannot", "30s"),
    ("[validation]\npoll_interval = inf", "validation.poll_interval cannot be inf", "10ms"),
    ("[validation]\npoll_interval = nan", "validation.poll_interval cannot be nan", "10ms"),
    ("[validation]\ndeadline = true", "validation.deadline cannot be True", "30s"),
    ("[retry]\nmax_delay = '1ms'", "retry.max_delay cannot be 1ms", "initial_delay"),
    ("[lease]\nduration = '0s'", "lease.duration cannot be 0s", "1s"),
    ("state_dir = 3", "state_dir cannot be 3", "path"),
    ("state_dir = '~nobody-at-all/x'", "state_dir cannot be", "home folder"),
    ("[fireworks]\naccount_id = 'me@there.org'", "account_id cannot be me@there.org", "accounts/"),
    ("[fireworks]\nbase_url = 'http://api.fireworks.ai'", "base_url cannot be http", "https"),
    ("[fireworks]\nbase_url = 'api.fireworks.ai'", "base_url cannot be", "whole URL"),
    ("[fireworks]\nbase_url = 'https://x:99999'", "base_url cannot be", "ort"),
    ("[fireworks]\nbase_url = 'https://[x'", "base_url cannot be", "IPv6"),
    ("not toml", "is not TOML", "fix it"),
]


@pytest.mark.parametrize(("text", "message", "hint"), MISTAKES)
def test_a_mistake_is_one_line_with_its_cure(
    config: Path, text: str, message: str, hint: str
) -> None:
    error = refusal(config, text)
    assert message in error.message
    assert str(config) in error.message
    assert hint in error.hint
    assert error.exit_code == 2


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("UPLOADER_TRANSFER__MAX_FILE", "UPLOADER_TRANSFER__MAX_FILES"),
        ("UPLOADER_LEASE__DURATIONS", "UPLOADER_LEASE__DURATION"),
    ],
)
def test_an_unknown_variable_of_a_section_is_refused_with_the_nearest(
    config: Path, name: str, nearest: str
) -> None:
    error = refusal(config, "", **{name: "canary"})
    assert name in error.message
    assert nearest in error.hint
    assert "canary" not in error.message + error.hint


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("UPLOADER_MAX_FILES", "UPLOADER_TRANSFER__MAX_FILES"),
        ("UPLOADER_TRANSFER_CHUNK_SIZE", "UPLOADER_TRANSFER__CHUNK_SIZE"),
        ("UPLOADER_STATEDIR", "UPLOADER_STATE_DIR"),
    ],
)
def test_another_unknown_variable_is_warned_of(name: str, nearest: str) -> None:
    (warning,) = load(environ={name: "canary"}).warnings
    assert name in warning
    assert nearest in warning
    assert "canary" not in warning


@pytest.mark.parametrize("service", ["UPLOADER", "UPLOADER_API", "UPLOADER_TRANSFER"])
def test_a_service_of_that_name_in_the_cluster_stops_nothing_and_is_not_worth_a_word(
    service: str,
) -> None:
    web = ["PORT_80_TCP", "PORT_80_TCP_ADDR", "PORT_80_TCP_PORT", "PORT_80_TCP_PROTO"]
    links = [*web, "SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP", "PORT", "NAME", "ENV_PATH"]
    found = load(environ={f"{service}_{link}": "tcp://10.0.0.1:80" for link in links})
    assert found.warnings == ()


def test_a_bad_variable_is_named(config: Path) -> None:
    error = refusal(config, "", UPLOADER_TRANSFER__MAX_JOBS="many")
    assert "from UPLOADER_TRANSFER__MAX_JOBS" in error.message
    assert "many" in error.message


def test_a_byte_order_mark_of_an_editor_is_no_part_of_a_file(config: Path) -> None:
    config.write_bytes(b"\xef\xbb\xbf[transfer]\r\nmax_jobs = 3\r\n")
    assert load(config, {}).transfer.max_jobs == 3


def test_a_file_that_is_not_utf8_or_not_readable(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="is not TOML"):
        load(config, {})

    def denied(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", denied)
    with pytest.raises(UsageError, match="cannot be read: Permission denied"):
        load(config, {})


@pytest.mark.parametrize(
    "text",
    ["#" * 1_000_001, "a = " + "[" * 200_000, "a." * 100_000 + "b = 1", "a = '" + "x" * 9 + "\0'"],
    ids=["too large", "nested arrays", "nested keys", "no TOML"],
)
def test_a_file_that_nobody_wrote_by_hand_is_refused(config: Path, text: str) -> None:
    assert refusal(config, text).exit_code == 2


@pytest.mark.parametrize(
    ("path", "flaw"),
    [("/a\0b", "contains a NUL"), ("/" + "x" * 300, "too long"), ("/xx" * 1400, "too long")],
)
@pytest.mark.parametrize(
    "key", ["state_dir", "database_url", "database_secret_file", "fireworks.api_key_file",
            "fireworks.ca_bundle", "api.roots", "api.tls_cert_file", "api.tls_key_file"],
)  # fmt: skip
def test_a_path_that_no_file_can_have_is_refused(key: str, path: str, flaw: str) -> None:
    variable = f"UPLOADER_{key.upper().replace('.', '__')}"
    with pytest.raises(UsageError) as caught:
        load(None, {variable: f"sqlite:///{path}" if key == "database_url" else path})
    assert flaw in caught.value.hint
