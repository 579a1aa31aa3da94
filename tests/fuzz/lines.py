"""Parsers of what people write: lines, settings, keys."""

from __future__ import annotations

import contextlib
from pathlib import Path

from tests.fuzz.parser import JSON, MARKUP, URL, Parser, text
from uploader.core.errors import UploaderError
from uploader.core.redact import redact
from uploader.core.text import shown
from uploader.model.model_id import check_model_id, derive_model_id
from uploader.remote.credentials import ApiKeySource
from uploader.sandbox.script import ScriptError, parse, read_script
from uploader.settings.load import VARIABLES, load


def texts() -> dict[str, Parser]:
    return {
        "any line": Parser(
            lambda raw: [redact(text(raw), "Zq3Canary/Secret"), shown(text(raw))],
            (*MARKUP, *URL, "Zq3", "%5a", "\\n", "5a", "WnEz"),
        ),
        "a fault script": Parser(
            lambda raw: parse(read_script("[" + text(raw))),
            (*JSON, '"on":"put"', '"do":"cut"', '"nth":', '"seconds":', '"body":', "{}"),
            (b'{"on":"put","do":"cut","at_byte":7}]',),
            (ScriptError,),
        ),
        "a model id": Parser(
            lambda raw: [derive_model_id(Path("/m") / text(raw)), check_model_id(text(raw))],
            ("a", "-", ".", "_", "/", "models--", "snapshots", "checkpoint-", "é", " ", "A"),
        ),
    }  # fmt: skip


def settings(folder: Path) -> dict[str, Parser]:
    folder.mkdir()
    config, ini = folder / "config.toml", folder / "auth.ini"

    def toml(raw: bytes) -> object:
        config.write_bytes(raw)
        return load(config, {"HOME": str(folder)})

    def variables(raw: bytes) -> None:
        for name in _NAMES:
            with contextlib.suppress(UploaderError):
                load(None, {name: text(raw).replace("\0", "")})

    def key(raw: bytes) -> object:
        ini.write_bytes(raw)
        return ApiKeySource(None, None, None, ini).read()

    return {
        "TOML": Parser(
            toml,
            ("[", "]", "[[", "a", ".", "=", '"', "'", '"""', "'''", "\n", "{", "}", ",", "#", "1_0",
             "0x", "1e9", "1979-05-27", "T07:32:00", "[fireworks]\n", "base_url = ", "max_files = ",
             "[transfer]\n", "\\u", "\\", "nan", "inf", " "),
            (b"[transfer]\nmax_files = 3\n", b"[fireworks]\nbase_url = 'https://h'\n"),
        ),
        "variables": Parser(variables, ("1", "MiB", "s", "/", "~", "-", ".", " ", "e",
                    "9" * 20, "é",
                                        "sqlite:///", "postgresql://", "@", "?", "https://")),
        "auth.ini": Parser(
            key,
            ("[fireworks]\n", "[DEFAULT]\n", "[", "]", "api_key", "=", ":", " ", "\n", ";", "#",
             '"',
             "'", "fw_", "a", "%", "\r", "\ufeff", "é", "\0"),
            (b"[fireworks]\napi_key = fw_abcdef\n", b"[\n\rfireworks]\napi_key = fw_abcdef\n"),
        ),
    }  # fmt: skip


_NAMES = sorted({*VARIABLES, "FIREWORKS_API_KEY", "FIREWORKS_BASE_URL"} - {"UPLOADER_STATE_DIR"})
