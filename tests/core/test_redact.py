from __future__ import annotations

import traceback
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uploader.core.redact import MASK, ApiKey, Secret, SessionUri, SignedUrl, redact

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
