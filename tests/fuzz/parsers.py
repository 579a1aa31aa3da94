"""Every parser of foreign text: how it is fed, what it may raise, and its vocabulary.

`ours` is what a parser's docstring says that it raises; anything else is a finding. `words` are the
pieces its language is made of: inputs are put together from them, and each of them, repeated, may
cost no more than its length.
"""

from __future__ import annotations

import contextlib
import json
import socket
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import patch

import requests

from tests.model.build import INDEX, SHARDED, safetensors, zipped
from tests.sqlite import sqlite_url
from uploader.core.addresses import base_url, doubts, trusted
from uploader.core.documents import event_json, job_document, jobs_document
from uploader.core.errors import NotFound, StoreError, UploaderError
from uploader.core.job import Kind, Manifest, ManifestFile, NewJob
from uploader.core.limit_documents import limits_json, status_document
from uploader.core.limits import InForce
from uploader.core.redact import ApiKey, SessionUri, foreign_line, redact
from uploader.core.resumable import UploadUrl, interpret, read_url, stored_facts
from uploader.core.retry import Backoff
from uploader.core.text import event_line, progress_line, shown
from uploader.core.timetable import UNLIMITED
from uploader.core.verdict import Call
from uploader.intake.inspect import inspect_folder
from uploader.intake.request import EnqueueRequest
from uploader.model.fields import merged, read_fields
from uploader.model.folder import scan
from uploader.model.index import read_index
from uploader.model.kinds import create_body
from uploader.model.model_id import check_model_id, derive_model_id
from uploader.model.pickled import check_pickled
from uploader.model.reading import Malformed, read_object
from uploader.model.safetensors import read_header
from uploader.remote import sockets
from uploader.remote.credentials import ApiKeySource
from uploader.remote.fireworks import Fireworks
from uploader.remote.gate import Gate
from uploader.remote.refusals import refusal
from uploader.remote.storage import Storage
from uploader.remote.words import plain_words
from uploader.runtime import StopToken, SystemClock
from uploader.sandbox.script import ScriptError, parse, read_script
from uploader.settings.load import VARIABLES, load
from uploader.store.database import migrate
from uploader.store.database.dialect import open_engine
from uploader.store.jobs import Jobs

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
LIMITS = limits_json(
    InForce(UNLIMITED, "auto", 2), dict.fromkeys(("bandwidth", "files", "jobs"), "default"), NOW
)
_JSON = ("{", "}", "[", "]", ":", ",", '"', "\\", "\\u0041", "\\ud800", "null", "true", "1", "-",
         "1e999", "9" * 30, "NaN", '"a":', '{"a":', " ", "\n", "\ufeff", "é", "\0")  # fmt: skip
_MARKUP = ("<", ">", "<Error>", "<Code>", "</Code>", "<Message>", "</Message>", "<!--", "-->",
           "<![CDATA[", "]]>", "&", "&#9", "&#x41;", "&lt;", ";", "<style>", "<script>", "</style>",
           "<html>", "<p>", "?", "=", "upload_id=", "Bearer ", "SIGNATURE_NOT_FOUND")  # fmt: skip


@dataclass(frozen=True)
class Parser:
    """``read`` takes any bytes; what it raises beyond ``ours`` is a finding."""

    read: Callable[[bytes], object]
    words: tuple[str, ...]
    seeds: tuple[bytes, ...] = ()
    ours: tuple[type[Exception], ...] = (UploaderError,)
    #: May a megabyte of one word be put in? Not if that is many operations of a system.
    long: bool = True


def parsers(folder: Path) -> dict[str, Parser]:
    """All of them by name; ``folder`` is empty, and theirs."""
    return {
        **_answers(),
        **_texts(),
        **_model_files(folder / "model"),
        **_settings(folder / "settings"),
        "rows": _rows(folder / "store"),
    }


# -- what a server says ------------------------------------------------------------------------


def _answers() -> dict[str, Parser]:
    return {
        "words": Parser(
            lambda raw: [plain_words(text(raw)), foreign_line(text(raw), 300)], _MARKUP
        ),
        "an error": Parser(
            lambda raw: [refusal(call, _answer(status, raw), NOW) for call, status in _REFUSED],
            (*_JSON, *_MARKUP, '"code":', '"message":', '"details":', '"reason":', '"status":'),
            (b'{"error":{"code":9,"message":"m","details":[{"reason":"X"}]}}',
             b"<Error><Code>A</Code><Message>b</Message></Error>"),
        ),
        "a Retry-After": Parser(
            lambda raw: refusal(Call.GET, _answer(429, b"", **{"Retry-After": text(raw)}), NOW),
            ("1", ".", "Mon", ",", " ", "Jan", "2026", ":", "00", "GMT", "+9999", "-", "(", ")"),
            (b"Mon, 23 Nov 2026 12:00:00 GMT", b"120"),
        ),
        "a Range": Parser(
            lambda raw: [_interpreted(text(raw), query=query) for query in (False, True)],
            ("bytes", "=", "-", "0", "9" * 20, " ", ",", "\u0663", "é"),
            (b"bytes=0-262143",),
        ),
        "what was stored": Parser(
            lambda raw: [
                stored_facts({"x-goog-hash": text(raw)}, raw),
                stored_facts({"x-goog-stored-content-length": text(raw)}, raw),
                stored_facts({"content-type": "application/json"}, raw),
            ],
            (*_JSON, "crc32c=", "md5=", "AAAA", "==", '"size":', '"crc32c":'),
            (b"crc32c=yZRlqg==,md5=x", b'{"size":"12","crc32c":"yZRlqg=="}'),
        ),
        "an upload URL": Parser(lambda raw: _url(text(raw)), _URL, (_SIGNED,)),
        "an exchange": Parser(
            _exchange,
            (*_JSON, *_HEAD, *_MARKUP),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
             b"HTTP/1.1 308 Resume Incomplete\r\nRange: bytes=0-7\r\nContent-Length: 0\r\n\r\n",
             b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
             b'HTTP/1.1 200 OK\r\n\r\n{"filenameToSignedUrls":{"a":"https://h"}}',
             b'HTTP/1.1 200 OK\r\n\r\n{"state":"READY","baseModelDetails":{}}'),
            long=False,
        ),
    }  # fmt: skip


_REFUSED = ((Call.GET, 400), (Call.DATA, 403), (Call.URLS, 409), (Call.VALIDATE, 503))
_URL = ("https://", "http://", "h", ".", "/", "?", "&", "=", "#", "@", ":", "[", "]", "%", "%00",
        "%ff", "upload_id=", "X-Goog-SignedHeaders=", "X-Goog-Expires=", "x-goog-resumable", ";",
        "9" * 12, "\\", "\0", " ", "é", "xn--")  # fmt: skip
_SIGNED = (
    b"https://h/b/o?X-Goog-SignedHeaders=host%3Bx-goog-resumable&X-Goog-Expires=60"
    b"&X-Goog-Signature=a"
)
_HEAD = ("HTTP/1.1 ", "HTTP/1.0 ", "100 Continue\r\n", "200 OK\r\n", "308 x\r\n", "503 x\r\n",
         "Content-Length: ", "Transfer-Encoding: chunked\r\n", "Content-Encoding: gzip\r\n",
         "Location: https://h\r\n", "Range: bytes=0-1\r\n", "Set-Cookie: a=b\r\n", "\r\n", ": ",
         "Retry-After: ", "x-fireworks-account-id: a\r\n", "ffffffff\r\n", "0\r\n")  # fmt: skip


def text(raw: bytes) -> str:
    """Of any bytes some text, lone surrogates included."""
    try:
        return raw.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _answer(status: int, body: bytes, **headers: str) -> requests.Response:
    response = requests.Response()
    response.status_code = status
    response._content = body
    response.headers.update({"Content-Type": "application/json", **headers})
    return response


def _interpreted(word: str, *, query: bool) -> object:
    return interpret(308, {"range": word}, b"", size_bytes=1 << 20, query=query)


def _url(word: str) -> object:
    trusted(word, plain=True)
    redact(word)
    with contextlib.suppress(ValueError):  # what it says that it raises
        doubts(base_url(word))
    url: UploadUrl = read_url(word)
    return url.headers(5)


def _exchange(raw: bytes) -> None:
    """Every call of both clients is given ``raw`` from the wire."""
    calls: list[Callable[[Fireworks, Storage], object]] = [
        lambda api, _: api.account(),
        lambda api, _: api.get("a", "m"),
        lambda api, _: api.upload_urls("a", "m", {"a": 1}, resumable=True),
        lambda api, _: api.validate("a", "m"),
        lambda _, storage: storage.query(SessionUri("http://127.0.0.1/s"), 9),
        lambda _, storage: storage.start(read_url("http://127.0.0.1/b/o"), 9),
        lambda _, storage: storage.end(SessionUri("http://127.0.0.1/s")),
    ]
    for call in calls:
        with clients(raw) as (api, storage), contextlib.suppress(UploaderError):
            call(api, storage)


@contextlib.contextmanager
def clients(raw: bytes) -> Iterator[tuple[Fireworks, Storage]]:
    ends: list[socket.socket] = []

    def connected(self: object) -> socket.socket:
        del self
        with socket.create_server(("127.0.0.1", 0)) as listener:
            ours = socket.create_connection(listener.getsockname())
            theirs, _ = listener.accept()
        ends.append(theirs)
        theirs.sendall(raw[: 64 * 1024])
        theirs.shutdown(socket.SHUT_WR)
        return ours

    clock = SystemClock()
    adapter = sockets.SocketAdapter(StopToken())
    api = Fireworks(
        "http://127.0.0.1:9", lambda: ApiKey("fw_key"), clock, Gate(clock, Backoff()), adapter
    )
    storage = Storage(clock, adapter, plain=True)
    with patch.object(sockets._Watched, "_connected", connected):
        try:
            yield api, storage
        finally:
            adapter.close()
            for end in ends:
                end.close()


# -- what people write -------------------------------------------------------------------------


def _texts() -> dict[str, Parser]:
    return {
        "any line": Parser(
            lambda raw: [redact(text(raw), "Zq3Canary/Secret"), shown(text(raw))],
            (*_MARKUP, *_URL, "Zq3", "%5a", "\\n", "5a", "WnEz"),
        ),
        "a fault script": Parser(
            lambda raw: parse(read_script("[" + text(raw))),
            (*_JSON, '"on":"put"', '"do":"cut"', '"nth":', '"seconds":', '"body":', "{}"),
            (b'{"on":"put","do":"cut","at_byte":7}]',),
            (ScriptError,),
        ),
        "a model id": Parser(
            lambda raw: [derive_model_id(Path("/m") / text(raw)), check_model_id(text(raw))],
            ("a", "-", ".", "_", "/", "models--", "snapshots", "checkpoint-", "é", " ", "A"),
        ),
    }  # fmt: skip


def _settings(folder: Path) -> dict[str, Parser]:
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


# -- a model folder ----------------------------------------------------------------------------

_KEYS = ('"architectures":', '"model_type":', '"torch_dtype":', '"quantization_config":',
         '"num_hidden_layers":', '"text_config":', '"hidden_size":', '"vocab_size":',
         '"LlamaForCausalLM"', '"tie_word_embeddings":', '"auto_map":', '"eos_token_id":',
         '"num_attention_heads":', '"head_dim":', '"chat_template":')  # fmt: skip
_ADAPTER = ('"peft_type":', '"LORA"', '"r":', '"lora_alpha":', '"target_modules":', '"q_proj"',
            '"rank_pattern":', '"alpha_pattern":', '"modules_to_save":', '"bias":',
            '"use_dora":', '"base_model_name_or_path":', '"(.*)*"')  # fmt: skip
_INDEX = ('"weight_map":', '"metadata":', '"total_size":', '"model-00001-of-00002.safetensors"')


def _model_files(folder: Path) -> dict[str, Parser]:
    folder.mkdir()
    one, adapter = folder / "one.safetensors", {"adapter_config.json", "adapter_model.safetensors"}

    def header(raw: bytes) -> object:
        one.write_bytes(len(raw).to_bytes(8, "little") + raw + bytes(64))
        return read_header(one)

    def written(read: Callable[[Path], object]) -> Callable[[bytes], object]:
        def write(raw: bytes) -> object:
            one.write_bytes(raw)
            return read(one)

        return write

    looked = _folder(folder / "base", {**SHARDED}, None)
    lora = _folder(folder / "lora", dict.fromkeys(adapter, b""), "accounts/a/models/m")
    return {
        "a header": Parser(
            header,
            (*_JSON, '"dtype":', '"F32"', '"shape":', '"data_offsets":', "[0,4]",
             '"__metadata__":'),
            (b'{"a":{"dtype":"U8","shape":[64],"data_offsets":[0,64]}}',),
            (Malformed,),
        ),
        "a safetensors file": Parser(
            written(read_header), ("\0", "\1", "\xff",
            *_JSON), (safetensors({"a": 8}),), (Malformed,)
        ),
        "pickled weights": Parser(
            written(check_pickled),
            ("PK\3\4", "PK\1\2", "PK\5\6", "\0", "\xff", "\x80\2", "archive/data.pkl"),
            (zipped({"a": 8}),),
            (Malformed,),
        ),
        "JSON": Parser(written(read_object), _JSON, (b'{"a": [1, "b", null]}',), (Malformed,)),
        "an index": Parser(
            written(read_index), (*_JSON, *_INDEX), (SHARDED[INDEX],), (Malformed,)
        ),
        "fields of a model": Parser(
            written(lambda path: merged({}, read_fields(path))),
            (*_JSON, '"contextLength":', '"peftDetails":', '"baseModelDetails":', '"r":'),
            (b'{"contextLength": 32768, "peftDetails": {"r": 8}}',),
        ),
        "a folder": Parser(
            looked, (*_JSON, *_KEYS, *_INDEX), (SHARDED["config.json"],), long=False
        ),
        "an adapter": Parser(lora, (*_JSON, *_ADAPTER), (_LORA,), long=False),
    }  # fmt: skip


_LORA = (
    b'{"peft_type":"LORA","r":8,"lora_alpha":16,"target_modules":["q_proj"],'
    b'"base_model_name_or_path":"a/b"}'
)


def _folder(root: Path, files: Mapping[str, bytes], base: str | None) -> Callable[[bytes], object]:
    """Every JSON file of a folder is ``raw``, one after the other, and the folder is looked at."""
    root.mkdir()
    for name, body in files.items():
        (root / name).write_bytes(body)
    if base:
        keys = ("lora_A", "lora_B")
        names = {
            f"base_model.model.model.layers.0.self_attn.q_proj.{key}.weight": 8 for key in keys
        }
        (root / "adapter_model.safetensors").write_bytes(safetensors(names))
    request = EnqueueRequest(root, base_model=base)

    def look(raw: bytes) -> None:
        for name in filter(lambda name: name.endswith(".json"), files):
            (root / name).write_bytes(raw)
            with contextlib.suppress(UploaderError):
                seen = inspect_folder(request)
                json.dumps(seen.as_json())
                if not seen.errors:
                    create_body(seen.folder, seen.kind, "m", base_model=base)
            (root / name).write_bytes(files[name])
        scan(root)

    return look


# -- a job table -------------------------------------------------------------------------------


def _rows(folder: Path) -> Parser:
    """Any value in any column of any row, as somebody with another program might have put there."""
    folder.mkdir(mode=0o700)
    path = folder / "uploader.db"
    engine = open_engine(sqlite_url(path))
    migrate.ensure(engine, folder)
    manifest = Manifest(str(folder), (ManifestFile("a.bin", 9, "local:1:1"),), lambda a, b: a == b)
    jobs = Jobs(engine)
    jobs.enqueue(
        NewJob("https://api.fireworks.ai", "a", "m", Kind.BASE, manifest, {"model": {}}, {}), NOW
    )
    with contextlib.closing(sqlite3.connect(path)) as found:
        tables = ("jobs", "files", "events")
        columns = [
            (table, row[1])
            for table in tables
            for row in found.execute(f"PRAGMA table_info({table})").fetchall()
            if row[1] not in ("id", "job_id", "seq")
        ]

    def read(raw: bytes) -> None:
        table, column = columns[raw[0] % len(columns)] if raw else columns[0]
        word = text(raw[2:]).encode("utf-8", "replace").decode()
        value: object = (word, raw[2:], len(raw), -1, 1e300, None)[(raw[1:2] or b"\0")[0] % 6]
        with contextlib.closing(sqlite3.connect(path)) as wrong:
            (before,) = wrong.execute(f"SELECT {column} FROM {table}").fetchone()
            try:
                wrong.execute(f"UPDATE {table} SET {column} = ?", (value,))
                wrong.commit()
            except sqlite3.Error:  # a constraint refuses it
                return
            try:
                _read_all(jobs)
            finally:
                wrong.execute(f"UPDATE {table} SET {column} = ?", (before,))
                wrong.commit()

    every = tuple(
        bytes((number, kind)) + word
        for number in range(len(columns))
        for kind, word in (
            (0, b"{}"),
            (0, b"7"),
            (0, b""),
            (0, b"[" * 5000),
            (2, b""),
            (3, b""),
            (4, b""),
        )
    )
    return Parser(read, ("\0", "\1", "\2", "7", *_JSON), every, long=False)


def _read_all(jobs: Jobs) -> None:
    for look in (
        lambda: json.dumps(status_document(jobs_document(jobs.jobs(), [], NOW), LIMITS)),
        lambda: json.dumps(job_document(jobs.job(1), jobs.files(1), NOW)),
        lambda: jobs.find("m"),
        lambda: json.dumps([*map(event_json, jobs.events(1))]),
        lambda: [event_line(event) for event in jobs.events()],
        lambda: [progress_line(job, NOW) for job in jobs.jobs()],
    ):
        with contextlib.suppress(StoreError, NotFound):
            look()
