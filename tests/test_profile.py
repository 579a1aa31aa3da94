from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.contenders import CURL, MEDIA_8, RUN, RUN_PLAIN, VENDOR
from bench.profile_page import Part, page
from bench.report import facts
from bench.stacks import (
    COPIES,
    CRC32C,
    INTERPRETER,
    LIBC,
    OTHER,
    OTHERS,
    PACING,
    REST,
    SENDER,
    SHA256,
    SQLITE,
    THREADS,
    TLS,
    WAKING,
    Frame,
    Sample,
    Times,
    further,
    kind,
    parse,
    sees_kernel,
    sender,
    times,
)

PRINTED = """\
python 3500 
\tffffffff81b6ab30 _copy_from_iter ([kernel.kallsyms])
\tffffffff821ed511 tcp_sendmsg ([kernel.kallsyms])
\t    7f1754cb6a85 __send (/usr/lib/x86_64-linux-gnu/libc.so.6)

thread of many words 3337 
\t    7f1754efa8ed crc32c::ExtendSse42(unsigned int) (/venv/google_crc32c.libs/libcrc32c-7e.so.1 (deleted))
\t    7f1754efa8ff [unknown] ([unknown])

python 3338 

"""  # noqa: E501, W291  # as perf prints it
LIB = "/usr/lib/x86_64-linux-gnu"
PYTHON = "/usr/lib/python3.11"


def kernel(*calls: str) -> list[Frame]:
    return [Frame(call, "[kernel.kallsyms]", kernel=True) for call in calls]


def user(place: str) -> list[Frame]:
    return [Frame("[unknown]", place, kernel=False)]


def test_the_samples_are_read_as_perf_prints_them() -> None:
    one, other = parse(PRINTED)
    assert one.thread == 3500
    assert one.frames == [
        *kernel("_copy_from_iter", "tcp_sendmsg"),
        Frame("__send", f"{LIB}/libc.so.6", kernel=False),
    ]
    assert other.thread == 3337
    assert other.frames[0].function == "crc32c::ExtendSse42(unsigned int)"
    assert other.frames[0].place.endswith("libcrc32c-7e.so.1 (deleted)")
    assert list(parse("")) == []


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        ("_copy_from_iter tcp_sendmsg_locked", COPIES),
        ("_copy_to_iter copy_page_to_iter filemap_read", COPIES),
        ("rep_movs_alternative _copy_to_user", COPIES),
        ("__arch_copy_from_user tcp_sendmsg_locked", COPIES),
        ("copy_page_to_iter filemap_read", REST),
        ("_raw_spin_unlock_irqrestore tcp_write_xmit tcp_sendmsg", PACING),
        ("hrtimer_start_range_ns tcp_write_xmit tcp_sendmsg", PACING),
        ("handle_softirqs __irq_exit_rcu sysvec_apic_timer_interrupt tcp_sendmsg", PACING),
        ("handle_softirqs __irq_exit_rcu common_interrupt vfs_read", REST),
        ("__hrtimer_run_queues hrtimer_run_softirq handle_softirqs", PACING),
        ("ip_output tcp_write_xmit tcp_tsq_handler tcp_pace_kick hrtimer_run_softirq", REST),
        ("_copy_to_iter tcp_tsq_handler tcp_pace_kick", COPIES),
        ("tcp_tsq_handler tcp_pace_kick hrtimer_run_softirq", REST),
        ("hrtimer_start_range_ns schedule_hrtimeout_range_clock do_sys_poll", WAKING),
        ("_raw_spin_unlock_irqrestore sock_def_readable tcp_data_queue", WAKING),
        ("_raw_spin_unlock_irqrestore try_to_wake_up autoremove_wake_function", WAKING),
        ("finish_task_switch.isra.0 __schedule schedule do_sys_poll", WAKING),
        ("finish_task_switch.isra.0 __schedule schedule futex_do_wait do_futex", THREADS),
        ("try_to_wake_up wake_up_q futex_wake do_futex", THREADS),
        ("_raw_spin_unlock_irqrestore __mod_timer tcp_write_xmit", REST),
        ("filemap_get_read_batch filemap_read vfs_read", REST),
    ],
)
def test_what_the_kernel_did_is_found_by_its_stack(calls: str, expected: str) -> None:
    sample = Sample(1, [*kernel(*calls.split()), *user(f"{LIB}/libc.so.6")])
    assert kind(sample, handshakes=False) == expected


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        (f"{LIB}/libssl.so.3", TLS),
        (f"{PYTHON}/lib-dynload/_ssl.cpython-311-x86_64-linux-gnu.so", TLS),
        ("/venv/site-packages/google_crc32c.libs/libcrc32c-7ebc40c5.so.1.1.0", CRC32C),
        ("/venv/site-packages/google_crc32c/_crc32c.cpython-311-x86_64-linux-gnu.so", CRC32C),
        (f"{LIB}/libcrypto.so.3", SHA256),
        (f"{PYTHON}/lib-dynload/_hashlib.cpython-311-x86_64-linux-gnu.so", SHA256),
        (f"{LIB}/libsqlite3.so.0.8.6", SQLITE),
        (f"{PYTHON}/lib-dynload/_sqlite3.cpython-311-x86_64-linux-gnu.so", SQLITE),
        ("/opt/lib/libpython3.11.so.1.0", INTERPRETER),
        ("/usr/bin/python3.11", INTERPRETER),
        (f"{PYTHON}/lib-dynload/_struct.cpython-311-x86_64-linux-gnu.so", INTERPRETER),
        (f"{LIB}/libc.so.6", LIBC),
        (f"{LIB}/libc-2.31.so", LIBC),
        (f"{LIB}/libcurl.so.4.8.0", LIBC),
        ("/usr/bin/curl", LIBC),
        (f"{LIB}/ld-linux-x86-64.so.2", LIBC),
        ("[vdso]", LIBC),
        ("/venv/python3.11/site-packages/pydantic_core/_pydantic_core.cpython-311.so", OTHER),
        ("[unknown]", OTHER),
    ],
)
def test_what_a_program_did_is_found_by_its_library(place: str, expected: str) -> None:
    assert kind(Sample(1, user(place)), handshakes=False) == expected


def test_libcrypto_is_tls_only_in_the_thread_that_sends_over_tls() -> None:
    sends, hashes = Sample(1, user(f"{LIB}/libcrypto.so.3")), Sample(2, user(f"{LIB}/libcrypto.so"))
    samples = [Sample(1, kernel("ip_output", "tcp_sendmsg")), sends, hashes, hashes]
    over_tls, in_clear = times(samples, tls=True), times(samples, tls=False)
    assert over_tls == {(SENDER, REST): 0.0005, (SENDER, TLS): 0.0005, (OTHERS, SHA256): 0.001}
    assert in_clear == {(SENDER, REST): 0.0005, (SENDER, SHA256): 0.0005, (OTHERS, SHA256): 0.001}


def test_the_sender_is_whoever_is_most_often_about_to_send() -> None:
    sends = kernel("_copy_from_iter", "tcp_sendmsg")
    samples = [Sample(1, sends), Sample(2, sends), Sample(2, sends), *[Sample(3, user("x"))] * 9]
    assert sender(samples) == 2
    assert sender(samples[3:]) is None


def test_a_kernel_without_names_is_one_that_perf_may_not_look_into() -> None:
    assert sees_kernel([Sample(1, user("x")), Sample(1, kernel("schedule"))])
    assert not sees_kernel([Sample(1, user("x")), Sample(1, kernel("[unknown]"))])
    assert not sees_kernel([])


def test_the_facts_say_how_tcp_decides_when_to_send_if_the_system_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.report.CONTROL", tmp_path / "control")
    assert "TCP" not in facts(())
    (tmp_path / "control").write_text("reno\n")
    assert facts(())["TCP"] == "congestion control reno"


def test_a_further_unit_is_the_difference_even_of_what_only_one_of_them_did() -> None:
    small, large = {(SENDER, COPIES): 1.0, (OTHERS, SQLITE): 0.5}, {(SENDER, COPIES): 4.0}
    assert further(small, large, 2) == {(SENDER, COPIES): 1.5, (OTHERS, SQLITE): -0.25}


def took(**seconds: Sequence[float]) -> list[Times]:
    """Rounds, by kind: the sender's, but SHA-256's."""
    kinds = {"copies": COPIES, "crc32c": CRC32C, "sha256": SHA256, "interpreter": INTERPRETER}
    return [
        {
            (OTHERS if name == "sha256" else SENDER, kinds[name]): values[number]
            for name, values in seconds.items()
        }
        for number in range(3)
    ]


def test_the_page_has_medians_with_least_and_most_and_compares_within_a_round() -> None:
    ours = took(copies=(0.1, 0.2, 0.4), crc32c=(0.1, 0.1, 0.1), sha256=(0.3, 0.5, 0.5))
    plain = took(copies=(0.1, 0.2, 0.3), interpreter=(-0.0001, 0.0, 0.0001))
    curls = took(copies=(0.1, 0.2, 0.2))
    part = Part({}, {RUN: ours, RUN_PLAIN: plain, CURL: curls})
    small = {
        RUN: took(copies=(0.001,) * 3, crc32c=(0.001,) * 3, interpreter=(0.002,) * 3),
        MEDIA_8: took(copies=(0.0005,) * 3, interpreter=(0.001,) * 3),
    }
    text = page({"date": "today"}, {"HTTP": part}, Part(small, small), 500)
    lines = text.splitlines()
    assert "- date: today" in lines
    assert any(
        line.startswith("| kernel: copies | 0.20 (0.10 to 0.40) |  | 0.20 (0.10 to 0.30) |  |")
        for line in lines
    )
    assert (
        "| SHA-256 (libcrypto) |  | 0.50 (0.30 to 0.50) |  |  |  | 0.50 (0.30 to 0.50) |" in lines
    )
    assert f"- `{RUN}` through `{CURL}`: 5.00 (4.00 to 5.00)" in lines
    assert f"- `{RUN_PLAIN}` through `{CURL}`: 1.00 (1.00 to 1.50)" in lines
    assert "-0.00" not in text
    assert VENDOR not in text
    assert "| the kernel | 1.00 (1.00 to 1.00) | 25 |" in lines
    library, own = lines[-2:]
    assert library.endswith("| 1.00 (1.00 to 1.00) | 25 |")
    assert own.endswith("| 2.00 (2.00 to 2.00) | 50 |")
