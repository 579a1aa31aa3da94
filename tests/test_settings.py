"""Settings: one order of precedence, one example file, one line for every mistake."""

from __future__ import annotations

import os
import re
import shlex
import tomllib
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uploader.core.errors import UsageError
from uploader.core.redact import ApiKey
from uploader.settings import places, units
from uploader.settings.load import KEYS, VARIABLES, describe, find_config, load
from uploader.settings.schema import Settings
from uploader.settings.timetable import parse_limit

KIB, MIB, GIB = 1024, 1024**2, 1024**3
EXAMPLE = Path(__file__).parents[1] / "config.example.toml"
KEY = "fw_canary0123456789"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, so that no test reads the developer's configuration."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(places, "SYSTEM", tmp_path / "etc")
    return tmp_path


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "given.toml"


def from_file(config: Path, text: str, **environ: str) -> Settings:
    config.write_text(text)
    return load(config, environ)


def refusal(config: Path, text: str, **environ: str) -> UsageError:
    with pytest.raises(UsageError) as caught:
        from_file(config, text, **environ)
    assert caught.value.hint
    assert "\n" not in caught.value.message + caught.value.hint
    return caught.value


def test_defaults(home: Path) -> None:
    found = load(environ={})
    assert found.state_dir == home / ".local/state/uploader" or found.state_dir.is_absolute()
    assert found.database_url == f"sqlite:///{found.state_dir}/uploader.db"
    assert found.auth_ini == home / ".fireworks/auth.ini"
    assert found.fireworks.base_url == "https://api.fireworks.ai"
    assert (found.fireworks.account_id, found.fireworks.api_key) == (None, None)
    assert (found.transfer.max_jobs, found.transfer.max_files) == (2, "auto")
    assert found.transfer.chunk_size_bytes == "auto"
    assert found.transfer.slowest_uplink_bps == 256 * 1024
    assert found.transfer.bandwidth_limit.never_limits
    assert (found.validation.poll_interval_s, found.validation.deadline_s) == (30.0, 3600.0)
    assert (found.retry.initial_delay_s, found.retry.max_delay_s) == (1.0, 60.0)
    assert found.lease.duration_s == 60.0
    assert found.config_file is None


def test_the_environment_wins_over_the_file_and_the_file_over_the_default(config: Path) -> None:
    text = "[transfer]\nmax_files = 5\nmax_jobs = 3\n"
    found = from_file(config, text, UPLOADER_TRANSFER__MAX_FILES="6")
    assert (found.transfer.max_files, found.transfer.max_jobs) == (6, 3)
    origins = {name: origin for name, _, origin in describe(found)}
    assert origins["transfer.max_files"] == "UPLOADER_TRANSFER__MAX_FILES"
    assert origins["transfer.max_jobs"] == str(config)
    assert origins["lease.duration"] == "default"


def test_an_empty_variable_counts_as_not_set() -> None:
    environ = dict.fromkeys([*VARIABLES, "FIREWORKS_API_KEY", "FIREWORKS_BASE_URL"], "")
    assert load(environ=environ) == load(environ={})


def test_which_file_is_read(home: Path, config: Path) -> None:
    assert find_config(None, {}) is None
    machine = home / "etc" / "config.toml"
    user = home / ".config/uploader/config.toml"
    named = {"UPLOADER_CONFIG": "~/named.toml"}
    for file, environ in ((machine, {}), (user, {}), (home / "named.toml", named), (config, named)):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("")
        if file == user and find_config(None, {}) == machine:
            pytest.skip("another platform's folder")
        assert find_config(config if file == config else None, environ) == file


@pytest.mark.parametrize("environ", [{}, {"UPLOADER_CONFIG": "missing.toml"}])
def test_a_named_file_has_to_exist(tmp_path: Path, environ: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="no configuration file") as caught:
        load(None if environ else tmp_path / "missing.toml", environ)
    assert caught.value.exit_code == 2


# --- the example file -------------------------------------------------------------------------


def example() -> dict[str, object]:
    """Every commented-out setting of the example, read as if it were not."""
    lines = [re.sub(r"^# (?=\w+ = )", "", line) for line in EXAMPLE.read_text().splitlines()]
    found: dict[str, object] = {}
    for name, value in tomllib.loads("\n".join(lines)).items():
        found |= {f"{name}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {}
        found |= {} if isinstance(value, dict) else {name: value}
    return found


def test_the_example_names_every_setting_and_no_other() -> None:
    assert list(example()) == list(KEYS)


def test_the_example_sets_nothing(config: Path) -> None:
    assert from_file(config, EXAMPLE.read_text()) == load(environ={}).model_copy(
        update={"config_file": config}
    )


def test_every_default_of_the_example_is_the_default(home: Path) -> None:
    defaults = {name: value for name, value, _ in describe(load(environ={}))}
    state_dir = home / ".local/state/uploader"
    if defaults["state_dir"] != str(state_dir):
        pytest.skip("the example shows Linux' folder")
    for name, value in example().items():
        shown = (
            ""
            if value == []
            else str(value).replace("~", str(home)).replace("STATE_DIR", str(state_dir))
        )
        unset = "not set" if name.endswith("command") else ""
        assert defaults[name] == (shown or unset), name


def test_the_example_explains_each_setting_in_whole_sentences() -> None:
    for paragraph in EXAMPLE.read_text().split("\n\n"):
        lines = paragraph.splitlines()
        settings = [n for n, line in enumerate(lines) if re.match(r"# \w+ = ", line)]
        for last in settings:
            words = " ".join(lines[:last])
            assert re.search(r"(?:^|\] )# [A-Z].*\.$", words), paragraph


def test_every_setting_is_a_variable() -> None:
    assert list(VARIABLES.values()) == list(KEYS)
    assert VARIABLES["UPLOADER_STATE_DIR"] == "state_dir"
    assert VARIABLES["UPLOADER_TRANSFER__CHUNK_SIZE"] == "transfer.chunk_size"


# --- the bandwidth limit ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "entries"),
    [
        ("off", [(0, None)]),
        ("20MB/s", [(0, 20_000_000)]),
        (20_000_000, [(0, 20_000_000)]),
        ("Mon-08:00,20MB/s Mon-19:00,off", [(480, 20_000_000), (1140, None)]),
        ("sunday-9:05,1 MB/s  MON-08:00,off", [(480, None), (6 * 1440 + 545, 1_000_000)]),
        ("08:00,1MB/s", [(day * 1440 + 480, 1_000_000) for day in range(7)]),
    ],
)
def test_a_bandwidth_limit_is_a_rate_or_a_timetable(
    written: object, entries: list[tuple[int, int | None]]
) -> None:
    found = parse_limit(written)
    assert [(entry.minute, entry.rate_bps) for entry in found.entries] == entries
    assert parse_limit(str(found)) == found


@pytest.mark.parametrize(("days", "fits"), [("", False), ("Mon-", True)])
def test_a_timetable_has_at_most_one_entry_for_every_half_an_hour(days: str, *, fits: bool) -> None:
    written = " ".join(f"{days}0:{minute:02},9KB/s" for minute in range(49))
    if fits:
        assert len(parse_limit(written).entries) == 49
    else:
        with pytest.raises(ValueError, match="may have 336 entries, not 343"):
            parse_limit(written)


@given(st.text(alphabet="MonTuedayfri-:,0123456789KiB/s of\t", max_size=60) | st.integers())
def test_any_text_is_a_bandwidth_limit_or_shows_the_right_form(value: object) -> None:
    try:
        parse_limit(value)
    except ValueError as problem:
        assert "Mon-08:00,20MB/s 19:00,off" in str(problem)  # noqa: PT017 - else a limit


# --- mistakes ---------------------------------------------------------------------------------

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


def _homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container with a numeric user: no HOME, and no line in /etc/passwd."""
    for name in ("HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", _nobody)


def _nobody(uid: int) -> None:
    raise KeyError(uid)


def test_without_a_home_the_state_folder_is_all_that_is_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _homeless(monkeypatch)
    found = load(environ={"UPLOADER_STATE_DIR": "/var/lib/uploader"})
    assert found.state_dir == Path("/var/lib/uploader")
    assert found.auth_ini is None
    assert found.config_file is None


def test_without_a_home_and_a_state_folder_the_setting_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _homeless(monkeypatch)
    with pytest.raises(UsageError) as caught:
        load(environ={})
    assert "UPLOADER_STATE_DIR" in caught.value.hint


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

    def denied(*_: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", denied)
    with pytest.raises(UsageError, match="cannot be read: Permission denied"):
        load(config, {})


# --- the service's address and the key --------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "https://api.fireworks.ai",
        "https://api.fireworks.ai/",
        "https://API.fireworks.ai/v1",
        " https://api.fireworks.ai/v1/ ",
        "https://api.fireworks.ai/inference/v1",
        "https://api.fireworks.ai/inference/v1//",
    ],
)
def test_a_base_url_loses_what_other_tools_append(text: str) -> None:
    found = load(environ={"FIREWORKS_BASE_URL": text})
    assert found.fireworks.base_url == "https://api.fireworks.ai"


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8080", "http://localhost:1", "http://[::1]:8080", "https://x/prefix"]
)
def test_a_base_url_on_this_machine_may_be_plain(url: str) -> None:
    assert load(environ={"FIREWORKS_BASE_URL": url}).fireworks.base_url == url


def test_of_several_names_for_one_setting_the_first_wins() -> None:
    names = (
        "UPLOADER_FIREWORKS__BASE_URL",
        "FIREWORKS_BASE_URL",
        "FIREWORKS_API_BASE_URL",
        "FIREWORKS_API_BASE",
    )
    environ = {name: f"https://host{number}" for number, name in enumerate(names)}
    for number, name in enumerate(names):
        assert load(environ=environ).fireworks.base_url == f"https://host{number}"
        del environ[name]


def test_the_key_is_kept_and_never_shown() -> None:
    found = load(environ={"FIREWORKS_API_KEY": f" {KEY}\t", "FIREWORKS_ACCOUNT_ID": "acme"})
    assert found.fireworks.api_key == ApiKey(KEY)
    assert found.fireworks.account_id == "acme"
    shown = [repr(found), str(found), str(describe(found)), found.model_dump_json()]
    assert not [text for text in shown if KEY in text]
    assert ("fireworks.api_key", "set", "FIREWORKS_API_KEY") in describe(found)


@pytest.mark.parametrize(
    "text",
    ["#" * 1_000_001, "a = " + "[" * 200_000, "a." * 100_000 + "b = 1", "a = '" + "x" * 9 + "\0'"],
    ids=["too large", "nested arrays", "nested keys", "no TOML"],
)
def test_a_file_that_nobody_wrote_by_hand_is_refused(config: Path, text: str) -> None:
    assert refusal(config, text).exit_code == 2


@pytest.mark.parametrize(
    ("key", "flaw"),
    [
        (f'"{KEY}"', "quotes"),
        (f"'{KEY}'", "quotes"),
        (f"“{KEY}”", "quotes"),
        (f"Bearer {KEY}", "Bearer"),
        (f"FIREWORKS_API_KEY={KEY}", "its variable"),
        (f"export FIREWORKS_API_KEY={KEY}", "its variable"),
        (f"api_key: {KEY}", "its variable"),
        (f"{KEY}\n", "line end"),
        (f"{KEY}\r\n", "line end"),
        ("k" * 5000, "longer"),
    ],
)
def test_what_people_paste_along_with_a_key_is_named(config: Path, key: str, flaw: str) -> None:
    error = refusal(config, "", FIREWORKS_API_KEY=key)
    assert flaw in error.message
    assert KEY not in error.message + error.hint


@pytest.mark.parametrize("key", ["two words", "tab\there", "schlüssel", "new\nline"])
def test_a_key_that_no_header_carries(config: Path, key: str) -> None:
    error = refusal(config, "", FIREWORKS_API_KEY=key)
    assert key not in error.message + error.hint


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("UPLOADER_DATABASE_URL", "mysql://me:canary@host/db"),
        ("UPLOADER_FIREWORKS__BASE_URL", "https://me:canary@host"),
        ("UPLOADER_FIREWORKS__ACCOUNT_ID", "fw_canary00000 x"),
    ],
)
def test_a_refused_secret_is_not_printed(config: Path, name: str, value: str) -> None:
    error = refusal(config, "", **{name: value})
    assert "canary" not in error.message + error.hint


def test_passwords_and_commands_are_masked(config: Path) -> None:
    text = (
        "database_url = 'postgresql://me:canary@host/db?password=canary'\n"
        "[fireworks]\napi_key_command = 'echo canary'\napi_key_file = '~/key'\n"
    )
    found = from_file(config, text)
    assert "canary" in found.database_url
    assert "canary" not in repr(found) + str(describe(found))
    values = {name: value for name, value, _ in describe(found)}
    assert values["database_url"] == "postgresql://***@host/db?***"
    assert values["fireworks.api_key_command"] == "set"
    assert found.fireworks.api_key_file == Path.home() / "key"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgres://me:canary@host/db", "postgres://***@host/db"),
        ("postgresql://host/db", "postgresql://host/db"),
        ("postgresql://me@host/db?password=canary@canary", "postgresql://***"),
        ("postgresql://me:canary?canary@host/db", "postgresql://***"),
        ("postgresql:///db?host=/run&password=canary", "postgresql:///db?***"),
    ],
)
def test_of_a_database_url_no_password_is_shown(url: str, shown: str) -> None:
    found = load(environ={"UPLOADER_DATABASE_URL": url})
    assert found.database_url == url
    assert ("database_url", shown, "UPLOADER_DATABASE_URL") in describe(found)
    assert "canary" not in repr(found)


def test_values_with_a_unit_are_described_as_they_were_written(config: Path) -> None:
    found = from_file(config, "[transfer]\nbandwidth_limit = '20 MB/s'\n")
    assert ("transfer.bandwidth_limit", "20 MB/s", str(config)) in describe(found)


def test_a_relative_state_folder_becomes_absolute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    found = load(environ={"UPLOADER_STATE_DIR": "var/state"})
    assert found.state_dir == Path("/var/state")
    assert found.database_url == "sqlite:////var/state/uploader.db"


# --- units ------------------------------------------------------------------------------------

SIZES = [
    (262144, 262144),
    ("4096", 4096),
    ("64MiB", 64 * MIB),
    ("64 MiB", 64 * MIB),
    ("64MB", 64_000_000),
    ("1.5GiB", 3 * GIB // 2),
    ("256kB", 256_000),
    ("256KiB", 256 * KIB),
    ("5TiB", 5 * 1024 * GIB),
    ("7B", 7),
]


@pytest.mark.parametrize(("text", "size"), SIZES)
def test_sizes_read_like_people_write_them(text: object, size: int) -> None:
    assert units.parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "MiB", "64M", "64mib", "64Mb", "-1", "1e3", "1,5GB", True, None]
)
def test_a_size_that_can_be_misread_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="64MiB"):
        units.parse_size(text)


@pytest.mark.parametrize(
    ("text", "rate"),
    [("off", None), ("20MB/s", 20_000_000), ("20MB", 20_000_000)],
)
def test_rates(text: object, rate: int | None) -> None:
    assert units.parse_rate(text) == rate


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (30, 30.0),
        (0.5, 0.5),
        ("31", 31.0),
        ("30s", 30.0),
        ("500ms", 0.5),
        ("90min", 5400.0),
        ("90m", 5400.0),
        ("1h30m", 5400.0),
        ("1h 30min", 5400.0),
        ("1.5h", 5400.0),
        ("2d", 172800.0),
    ],
)
def test_durations_read_like_people_write_them(text: object, seconds: float) -> None:
    assert units.parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "s", "-1s", "1h30", "1 year", "1e3s", "30S", False, None, "٣s"]
)
def test_a_duration_that_can_be_misread_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="30s"):
        units.parse_duration(text)


@given(st.decimals(0, 10**6, places=3), st.sampled_from(["B", "kB", "KiB", "MB", "GiB", "TB"]))
def test_a_size_is_its_number_times_its_unit(number: Decimal, unit: str) -> None:
    power = {"B": 0, "k": 1, "K": 1, "M": 2, "G": 3, "T": 4}[unit[0]]
    base = 1024 if "i" in unit else 1000
    assert units.parse_size(f"{number}{unit}") == int(number * base**power)


@given(st.one_of(st.text(), st.floats(), st.integers(), st.booleans(), st.none()))
def test_any_words_give_a_value_or_a_value_error(value: object) -> None:
    for parse in (units.parse_size, units.parse_rate, units.parse_duration):
        try:
            parse(value)
        except ValueError as problem:
            assert str(problem)  # noqa: PT017 - any other exception fails the test


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_may_write_runs_no_command(config: Path, mode: int) -> None:
    config.write_text("[fireworks]\napi_key_command = 'pass show fw'\n")
    config.chmod(mode)
    with pytest.raises(UsageError) as caught:
        load(config, {})
    assert "others may write" in caught.value.message
    assert f"chmod go-w {config}" in caught.value.hint
    assert "pass show" not in caught.value.message


def test_a_file_of_another_user_runs_no_command(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.write_text("[fireworks]\napi_key_command = 'pass show fw'\n")
    os.chown(config, 12345, -1)
    monkeypatch.setattr("os.geteuid", lambda: 54321)
    with pytest.raises(UsageError, match="others may write"):
        load(config, {})


def test_without_a_command_such_a_file_is_read(config: Path) -> None:
    config.write_text("[transfer]\nmax_files = 3\n")
    config.chmod(0o666)
    assert load(config, {}).transfer.max_files == 3


@pytest.mark.parametrize(("mode", "told"), [(0o600, False), (0o640, True), (0o604, True)])
def test_a_key_that_others_may_read_is_reported(tmp_path: Path, mode: int, *, told: bool) -> None:
    file = tmp_path / "key"
    file.write_text(KEY)
    file.chmod(mode)
    found = load(environ={"UPLOADER_FIREWORKS__API_KEY_FILE": str(file)})
    assert bool(found.warnings) is told
    assert KEY not in "".join(found.warnings)


@pytest.mark.parametrize(("mode", "told"), [(0o600, False), (0o640, True), (0o622, True)])
def test_every_secret_that_others_may_read_or_write_is_reported(
    config: Path, tmp_path: Path, mode: int, *, told: bool
) -> None:
    files = {name: tmp_path / name for name in ("tls", "first", "it's second")}
    for file in files.values():
        file.write_text("canary")
        file.chmod(mode)
    found = from_file(
        config,
        f"""
        [api]
        tls_key_file = "{files["tls"]}"
        [[hooks]]
        name = "one"
        on = ["ready"]
        webhook = "https://x.example"
        secret_file = ["{files["first"]}", "{files["it's second"]}"]
        [[hooks]]
        name = "two"
        on = ["ready"]
        command = ["true"]
        """,
    )
    words = {
        "tls": "the TLS key",
        "first": "the secret of hook one",
        "it's second": "the secret of hook one",
    }
    assert found.warnings == tuple(
        f"others may read or replace {words[name]} in {file}: `chmod 600 {shlex.quote(str(file))}`"
        + (", unless its group is meant to read it" if mode == 0o640 else "")
        for name, file in files.items()
        if told
    )


@pytest.mark.parametrize(
    ("mode", "told"), [(0o640, False), (0o644, True), (0o660, True), (0o600, False)]
)
def test_a_secret_of_another_owner_may_be_read_by_its_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, *, told: bool
) -> None:
    file = tmp_path / "tls"
    file.write_text("canary")
    file.chmod(mode)
    monkeypatch.setattr(os, "geteuid", lambda: file.stat().st_uid + 1)
    found = load(environ={"UPLOADER_API__TLS_KEY_FILE": str(file)})
    words = f"others may read or replace the TLS key in {file}: `chmod g-w,o= {file}`"
    assert found.warnings == ((words,) if told else ())


def test_a_secret_that_is_not_there_hides_no_other_that_others_may_read(
    tmp_path: Path, config: Path
) -> None:
    file = tmp_path / "tls"
    file.touch()
    file.chmod(0o644)
    found = from_file(
        config,
        f"[fireworks]\napi_key_file = '/none'\n[api]\ntls_key_file = '{file}'\n",
    )
    assert [str(file) in warning for warning in found.warnings] == [True]


@pytest.mark.parametrize("line", ["base_url = 'https://x.example'", "ca_bundle = '/etc/ca'"])
def test_a_file_that_others_may_write_does_not_say_where_the_key_goes(
    config: Path, line: str
) -> None:
    config.write_text(f"[fireworks]\n{line}\n")
    assert load(config, {})
    config.chmod(0o666)
    with pytest.raises(UsageError, match="is refused: others may write"):
        load(config, {})
    variable = {"FIREWORKS_BASE_URL": "https://y.example", "SSL_CERT_FILE": "/etc/other"}
    assert load(config, variable)  # the environment is the user's own


def test_an_auth_ini_that_others_may_read_is_reported_if_the_key_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    ini = tmp_path / ".fireworks/auth.ini"
    ini.parent.mkdir()
    ini.write_text("api_key = fw_x\n")
    ini.chmod(0o644)
    assert any(str(ini) in warning for warning in load(None, {}).warnings)
    assert not load(None, {"FIREWORKS_API_KEY": "fw_y"}).warnings
    ini.chmod(0o600)
    assert not load(None, {}).warnings


def test_the_store_its_log_and_every_backup_are_private(tmp_path: Path) -> None:
    store = tmp_path / "uploader.db"
    old = tmp_path / "uploader.db.backup-0001"
    old.touch()
    private = load(None, {"UPLOADER_STATE_DIR": str(tmp_path)}).private_paths
    assert {store, Path(f"{store}-wal"), Path(f"{store}.backup"), old} <= {*private}


@pytest.mark.parametrize(
    "text",
    [
        "database_url = 'postgresql://a@h/d'",
        "database_secret_file = '/tmp/s'",
        "state_dir = '/tmp/s'",
        "[fireworks]\napi_key_file = '/etc/hostname'",
    ],
)
def test_a_file_that_others_may_write_names_no_job_table_and_no_key(
    config: Path, text: str
) -> None:
    config.write_text(text)
    config.chmod(0o666)
    with pytest.raises(UsageError, match="others may write"):
        load(config, {})


def test_what_is_read_is_what_is_judged(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write_text("[fireworks]\napi_key_command = 'pass show fw'\n")
    config.chmod(0o666)
    safe = config.with_name("safe.toml")
    safe.write_text("")
    read = tomllib.loads

    def swapped(text: str) -> object:
        safe.rename(config)  # whoever may write the folder puts a private file in its place
        return read(text)

    monkeypatch.setattr("tomllib.loads", swapped)
    with pytest.raises(UsageError, match="others may write"):
        load(config, {})


def test_a_file_that_others_may_write_does_not_open_the_api(config: Path) -> None:
    config.write_text("[api]\nroots = ['/']\n")
    config.chmod(0o666)
    with pytest.raises(UsageError, match=r"api\.roots is refused"):
        load(config, {})


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


def test_a_configuration_under_a_name_that_is_too_long_is_not_there() -> None:
    with pytest.raises(UsageError, match="there is no configuration file"):
        load(Path("/" + "x" * 300), {})


def test_a_home_that_is_too_long_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/" + "x" * 300)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    with pytest.raises(UsageError) as caught:
        load(None, {})
    assert "set UPLOADER_STATE_DIR" in caught.value.hint
