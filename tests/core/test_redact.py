from __future__ import annotations

import base64
import json
import traceback
from dataclasses import dataclass
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.linear import assert_in_proportion, assert_linear, cpu_s, peak_bytes
from uploader.core import redact as redact_module
from uploader.core.redact import (
    MASK,
    ApiKey,
    Secret,
    SessionUri,
    SignedUrl,
    foreign_line,
    redact,
    remember,
)

CANARY = "cAnArY0123456789"
KINDS = (Secret, SessionUri, SignedUrl, ApiKey)
HOST = "https://storage.googleapis.com/bucket/o"

LEAKS = [
    f"{HOST}?upload_id={CANARY}",
    f"{HOST}?uploadType=resumable&upload_id={CANARY}",
    f"{HOST}?X-Goog-Algorithm=G&X-Goog-Signature={CANARY}&X-Goog-Expires=60",
    f"{HOST}?X-Goog-Credential={CANARY}",
    f"{HOST}?x-amz-security-token={CANARY}",
    f"{HOST}?sv=2024&sig={CANARY}",
    f"Max retries exceeded with url: /b/o?upload_id={CANARY} (Caused by reset)",
    f'{{"Location": "{HOST}?upload_id={CANARY}"}}',
    f"{HOST}?X-Goog-Algorithm=G\\u0026X-Goog-Signature={CANARY}",
    f"upload_id={CANARY}",
    f"X-Goog-Signature={CANARY}&more",
    f"Authorization: Bearer {CANARY}",
    f"{{'authorization': 'bearer {CANARY}'}}",
    f"the key fw_{CANARY} is invalid",
    f"fw_{CANARY}",
    f"hf_quant_config_{CANARY}",
]


LEAKS += [
    quote(LEAKS[0], safe=""),
    quote(quote(LEAKS[2], safe=""), safe=""),
    LEAKS[0].replace("?", "\\u003f").replace("=", "\\u003d"),
    LEAKS[0].replace("?", "&#63;").replace("=", "&equals;"),
    f"the key fw%5F{CANARY} is invalid",
]


@pytest.mark.parametrize("text", LEAKS)
def test_a_secret_in_a_strangers_text_is_masked(text: str) -> None:
    cleaned = redact(text)
    assert CANARY not in cleaned
    assert MASK in cleaned
    assert redact(cleaned) == cleaned


@pytest.mark.parametrize(
    "text",
    [
        "",
        "config.json not found",
        "hf_quant_config.json: stored and verified",
        f"{HOST}/model-00001-of-00002.safetensors",
        "https://api.fireworks.ai/v1/accounts/acme/models?pageSize=200",
        "the bearer of bad news",
    ],
)
def test_other_text_stays_readable(text: str) -> None:
    assert redact(text).replace(f"bearer {MASK}", "bearer of") == text


@given(st.text(), st.text(min_size=1), st.text())
def test_a_known_secret_never_survives(before: str, secret: str, after: str) -> None:
    unlike_the_mask = secret not in MASK and "*" not in secret
    if unlike_the_mask:
        assert secret not in redact(before + secret + after, secret).replace(MASK, "")


def test_an_empty_known_secret_masks_nothing() -> None:
    assert redact("words", "") == "words"


@dataclass(frozen=True)
class Holder:
    """As FileState holds a session."""

    secret: Secret


@pytest.mark.parametrize("kind", KINDS)
def test_a_secret_never_prints(kind: type[Secret]) -> None:
    secret = kind(CANARY)
    shown = (
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret!r}",
        f"{secret!s:>60}",
        format(secret),
        "%s %r" % (secret, secret),  # noqa: UP031 - as logging formats
        "{}".format(secret),  # noqa: UP032
        repr([secret]),
        repr({"key": secret}),
        repr(Holder(secret)),
    )
    assert not [text for text in shown if CANARY in text]
    assert repr(secret) == f"{kind.__name__}({MASK})"
    assert secret.reveal() == CANARY


@pytest.mark.parametrize("kind", KINDS)
def test_a_secret_stays_out_of_a_traceback_with_its_locals(kind: type[Secret]) -> None:
    secret = kind(CANARY)
    empty: dict[Secret, str] = {}
    with pytest.raises(KeyError) as caught:
        empty[secret]
    report = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    text = "".join(report.format())
    assert kind.__name__ in text
    assert CANARY not in text


def test_secrets_compare_by_kind_and_value() -> None:
    assert ApiKey("a") == ApiKey("a")
    assert ApiKey("a") != ApiKey("b")
    kinds: list[Secret] = [SessionUri("a"), SignedUrl("a"), ApiKey("a"), Secret("a")]
    assert len(set(kinds)) == len(kinds)
    assert len({ApiKey("a"), ApiKey("a")}) == 1


KEY = "Zq3CanarySecret+0123/abc"


@pytest.mark.parametrize(
    "written",
    [
        KEY.upper(),
        quote(KEY, safe=""),
        quote(KEY, safe="").lower(),
        "".join(f"%{ord(char):02X}" for char in KEY),
        "".join(f"\\u{ord(char):04x}" for char in KEY),
        json.dumps(KEY).replace("/", "\\/"),
        KEY.encode().hex(),
        f"{KEY[:9]}\r\n{KEY[9:]}",
        f"{KEY[:9]}\\n{KEY[9:]}",
    ],
)
def test_a_known_secret_is_found_however_it_is_written(written: str) -> None:
    line = foreign_line(f"you sent {written} to us", 300, KEY)
    assert line.replace('"', "") == f"you sent {MASK} to us"


@pytest.mark.parametrize("before", ["", "x", "xy", "user:"])
@pytest.mark.parametrize("after", ["", "z", "zz", "zzz"])
def test_a_known_secret_is_found_inside_base64(before: str, after: str) -> None:
    encoded = base64.b64encode(f"{before}{KEY}{after}".encode()).decode()
    left = foreign_line(encoded, 300, KEY)
    assert MASK in left
    assert len(left) < 2 * (len(before) + len(after)) + 12


@pytest.mark.parametrize(
    "text",
    [f"see {HOST}?page=2&x={CANARY} there", f"at /b/o?{CANARY} there", f"GET ?a={CANARY} there"],
)
def test_of_a_strangers_address_every_query_is_masked(text: str) -> None:
    line = foreign_line(text, 300)
    assert CANARY not in line
    assert line.endswith(f"?{MASK} there")


@given(st.integers(1, 12))
def test_a_secret_that_the_cut_goes_through_leaves_nothing(kept: int) -> None:
    text = " " * (8 * 1024 - kept) + KEY
    assert KEY[:kept] not in foreign_line(text, 300, KEY)


def test_a_strangers_words_are_one_short_line() -> None:
    assert foreign_line("a\n b\0c\t" + "d" * 900, 20) == "a b c " + "d" * 13 + "…"


@pytest.mark.parametrize(
    "unit",
    ["?", "?a=", "&", "<", "'", " ", "\n", "%", "%66", "\\u0066", "=", "bearer ",
             "signature=", "upload_id=", "fw_", "fw_a", "AKIA", "/", "x?", "://", KEY[:8], KEY[0],
             KEY[0] + " "],
)  # fmt: skip
def test_redaction_takes_time_in_proportion_to_the_text(unit: str) -> None:
    end = KEY[-8:]  # or it would not be searched for
    assert_linear(lambda text: redact(end + text, KEY), unit)
    assert_linear(lambda text: foreign_line(end + text, 300, KEY), unit)


@pytest.mark.parametrize("unit", [" ", "\u200b", "\\n", "%20", "%e2%80%8b"])
def test_redaction_takes_little_memory_for_what_may_be_ignored(unit: str) -> None:
    text = unit * (1_000_000 // len(unit))
    redact(unit, KEY)  # what is only made once
    assert peak_bytes(lambda: redact(text, KEY)) < 12 * len(text)


LONG = base64.b64encode(b"user-with-a-long-name-indeed:" + KEY.encode() + b" and words" * 9)
WRAPPED = [
    base64.encodebytes(base64.b64decode(LONG)).decode(),
    repr(base64.encodebytes(base64.b64decode(LONG))),
    "\r\n ".join(LONG.decode()[i : i + 7] for i in range(0, len(LONG), 7)),
    "\n".join(KEY.encode().hex()[i : i + 5] for i in range(0, 2 * len(KEY), 5)),
]


@pytest.mark.parametrize("text", WRAPPED)
def test_a_known_secret_is_found_in_an_encoding_that_is_broken_over_lines(text: str) -> None:
    left = "".join(redact(text, KEY).replace("\\n", "").split())
    assert MASK in left
    sure = base64.b64encode(b"xx" + KEY.encode()).decode()[4:-4]
    assert sure[4:16] not in left


def test_a_remembered_key_is_masked_wherever_words_are_kept() -> None:
    assert KEY in redact(KEY)
    remember(ApiKey(KEY))
    assert redact(f"so {KEY}") == f"so {MASK}"
    assert foreign_line(f"so {KEY.upper()}", 99) == f"so {MASK}"


def test_a_key_that_may_be_a_word_is_not_remembered_and_no_more_than_a_few_are() -> None:
    remember(ApiKey("config"))
    for number in range(100):
        remember(ApiKey(f"{KEY}{number}"))
    assert redact("config.json") == "config.json"
    assert redact(f"{KEY}99 and {KEY}98") == f"{MASK} and {MASK}"
    assert len(redact_module._KEYS) < 20


def test_what_is_kept_of_a_strangers_words_cannot_steer_a_terminal() -> None:
    line = foreign_line("\x1b[2J\x9b31m\u202etxt.\ud800 so", 99)
    assert line.isprintable()
    assert line.endswith("so")


@pytest.mark.parametrize("written", [KEY, " ".join(KEY), KEY.encode().hex(), quote(KEY)])
@pytest.mark.parametrize("missing", [1, 2, 9])
def test_a_secret_cut_short_in_any_spelling_leaves_nothing(written: str, missing: int) -> None:
    text = "x" + " " * (8 * 1024 - 1 - len(written) + missing) + written
    assert foreign_line(text, 300, KEY) in ("", "x")


@pytest.mark.parametrize(
    "written", [KEY.encode().hex(), "".join(f"&#x0000{ord(c):x};" for c in KEY)]
)
@pytest.mark.parametrize("filler", [" ", "%20", "\\n", "\u200b"])
def test_nor_does_one_whose_beginning_would_be_shown_and_whose_end_is_cut(
    written: str, filler: str
) -> None:
    for shown in (0, 9, 270, 290):
        for before in (12, len(written) - 1):
            text = "x" * shown + written[:before]
            text += filler * ((8 * 1024 - len(text)) // len(filler) + 1) + written[before:]
            assert written[:12] not in foreign_line(text, 300, KEY)
            text = "x" * shown + filler * ((8 * 1024 - shown - before) // len(filler)) + written
            assert written[:12] not in foreign_line(text, 300, KEY)


@pytest.mark.parametrize("words", ["so it is ", "代理服务器拒绝了请求。", "Прокси отказал. "])
def test_of_a_long_text_the_beginning_is_shown(words: str) -> None:
    assert foreign_line(words * 2000, 300, KEY).startswith(words * 2)


@pytest.mark.parametrize(
    "written",
    [
        " ".join(KEY),
        "    ".join(KEY),
        "\u200b".join(KEY),
        "\ufeff \u2060\u00ad".join(KEY),
        "%20".join(KEY),
        "%2520%E2%80%8B".join(KEY),
        quote(quote(KEY, safe=""), safe=""),
        quote(quote(quote(KEY, safe=""), safe=""), safe=""),
        "".join(f"%2525{ord(char):02x}" for char in KEY),
        "".join(f"\\\\u{ord(char):04x}" for char in KEY),
        json.dumps(json.dumps(KEY.replace("/", "\\/"))),
        "".join(f"&#{ord(char)};" for char in KEY),
        "".join(f"&#x{ord(char):x};" for char in KEY),
        "".join(f"&#{ord(char)}" for char in KEY),
        "".join(f"&#{ord(char):012d};" for char in KEY),
        "".join(f"&amp;#x{ord(char):x};" for char in KEY),
        "".join(f"&amp;amp;#{ord(char)}" for char in KEY),
        "".join(f"\\x{ord(char):02x}" for char in KEY),
        "".join(f"\\u{{{ord(char):x}}}" for char in KEY),
        KEY.replace("+", "&plus;").replace("/", "&amp;sol;"),
        *(char.join(KEY) for char in "\0\x01\x7f\x9f\u0301\u061c\u202e\ufe0f\U000e0041é¿"),
        *(code.join(KEY) for code in ("&#8203;", "&zwnj;", "&Tab;", "\\u200b", "\\x00", "%C2%AD")),
        " ".join(KEY.encode().hex()),
        "\u200b".join(base64.b64encode(KEY.encode()).decode()),
    ],
)
def test_nothing_between_its_characters_hides_a_known_secret(written: str) -> None:
    line = redact(f"you sent {written} to us", KEY)
    assert line.startswith("you sent ")
    assert line.endswith(" to us")
    left = "".join(c for c in line.replace(MASK, "") if c.isalnum())
    assert len(left) <= len("yousenttous") + 2
    assert MASK in line


@pytest.mark.long
@pytest.mark.parametrize(
    "secret",
    ["\\" * 24 + "x", "%" * 24 + "x", "u" * 24 + "x", "%25" * 9, "x78" * 9, "&amp;" * 9],
)
@pytest.mark.parametrize(
    "unit",
    ["\\", "%", "%25", "25", "u0075", "u", "&#x75;", "\u200b", "x78", "&amp;", "&#0"],
)
def test_no_secret_that_a_stranger_chose_takes_time_beyond_proportion(
    secret: str, unit: str
) -> None:
    redact(unit * 36 + "y", secret)
    end = secret[-8:]  # or it would not be searched for
    assert_linear(lambda text: redact(end + text, secret), unit)


def test_a_whole_url_is_found_in_its_spellings_too() -> None:
    secret = "https://storage.example/bucket/model.safetensors?signature=" + "0123456789" * 50
    assert redact(f"of {secret.encode().hex()}", secret) == "of ***"
    assert redact(f"of {quote(secret, safe='')}, as said", secret) == "of ***, as said"


def test_neither_a_secret_nor_a_text_that_a_stranger_chose_makes_the_other_dear() -> None:
    """A storage host chooses both: the id of a session, and the words of an error."""

    def cost_s(size: int) -> float:
        secret, text = f"{'u' * size}u0000!", f"u0000!|{'u' * size * 7}"
        return cpu_s(lambda: redact(text, secret))

    assert_in_proportion(cost_s, 1 << 13, "u")
