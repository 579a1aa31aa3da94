"""A service that repeats the key: nothing that is kept of its answers holds it."""

from __future__ import annotations

import tracemalloc
from base64 import b64encode

import pytest

from tests.remote.conftest import Serve
from tests.remote.fireworks.conftest import Connect, model, ok
from tests.remote.scripted import HandClock
from uploader.core.errors import RemoteError
from uploader.core.reasons import Code
from uploader.core.redact import ApiKey
from uploader.remote.fireworks import Fireworks
from uploader.remote.gate import Gate
from uploader.remote.sockets import SocketAdapter

ECHO = "Zq3CanarySecret0123abc"


@pytest.fixture
def echoed(adapter: SocketAdapter, clock: HandClock, gate: Gate) -> Connect:
    return lambda server: Fireworks(server.base, lambda: ApiKey(ECHO), clock, gate, adapter)


def test_what_is_kept_of_a_success_never_repeats_the_key(serve: Serve, echoed: Connect) -> None:
    words = f"so says {ECHO}, or {ECHO.upper()}"
    model = {
        "state": words,
        "kind": words,
        "status": {"code": "OK", "message": words},
        "baseModelDetails": {
            "defaultPrecision": words,
            "huggingfaceFiles": ["config.json", f"{ECHO.upper()}.bin"],
        },
        "peftDetails": {"baseModel": words},
        "encryptionState": words,
    }
    found = echoed(serve(ok({"name": "accounts/a/models/m", **model}))).get("a", "m")
    assert ECHO.lower() not in repr(found).lower()
    warnings = echoed(serve(ok({"warnings": [words, {"key": ECHO}]}))).validate("a", "m")
    assert ECHO.lower() not in repr(warnings).lower()


@pytest.mark.parametrize(
    "spelled",
    [
        ECHO.upper(),
        b64encode(ECHO.encode()).decode(),
        "".join(f"%{ord(char):x}" for char in ECHO),
        ECHO.encode().hex(),
    ],
    ids=["upper", "base64", "percent", "hex"],
)
def test_no_name_of_a_file_is_kept_that_spells_the_key(
    serve: Serve, echoed: Connect, spelled: str
) -> None:
    names = ["config.json", f"k-{spelled}"]
    found = echoed(serve(model({"baseModelDetails": {"huggingfaceFiles": names}}))).get("a", "m")
    assert found.huggingface_files is None


@pytest.mark.parametrize("name", ["hf_quant_config.json", "fw_tokenizer_data", "a?signature=1"])
def test_a_name_that_only_looks_like_a_key_is_one_of_the_files(
    serve: Serve, echoed: Connect, name: str
) -> None:
    names = ["config.json", name]
    found = echoed(serve(model({"baseModelDetails": {"huggingfaceFiles": names}}))).get("a", "m")
    assert found.huggingface_files == ("config.json", name)


@pytest.mark.parametrize("spelled", [ECHO, ECHO.encode().hex()], ids=["as it is", "hex"])
def test_no_cut_of_a_files_name_lets_the_beginning_of_the_key_through(
    serve: Serve, echoed: Connect, spelled: str
) -> None:
    name = f"{'n' * (1000 - len(spelled) + 1)}{spelled}"
    found = echoed(serve(model({"baseModelDetails": {"huggingfaceFiles": [name]}}))).get("a", "m")
    assert spelled[:8] not in repr(found)


@pytest.mark.parametrize("name", [ECHO, f"x.{ECHO}", ECHO.upper(), ECHO.encode().hex()])
def test_an_account_that_is_the_key_is_not_believed(
    serve: Serve, echoed: Connect, name: str
) -> None:
    with pytest.raises(RemoteError) as caught:
        echoed(serve(ok(x_fireworks_account_id=name))).account()
    assert caught.value.code is Code.NO_ACCOUNT
    assert name not in str(caught.value)


def test_names_that_nearly_spell_the_key_fill_no_memory(serve: Serve, echoed: Connect) -> None:
    """Each stretch between two blanks is looked at by itself."""
    names = [("f " * 490) + ECHO[-6:]] * 900
    api = echoed(serve(model({"baseModelDetails": {"huggingfaceFiles": names}})))
    tracemalloc.start()
    try:
        assert len(api.get("a", "m").huggingface_files or ()) == len(names)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 12 * len(names) * 1000
