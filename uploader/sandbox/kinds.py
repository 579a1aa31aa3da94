"""The kinds of faults: what each does, where it can happen, and which fields it takes.

The parser, `--faults help` and docs/sandbox.md use the same table.
"""

from __future__ import annotations

from dataclasses import dataclass

_UPLOAD = ("create", "list", "get", "delete", "urls", "validate", "verify")
CONTROL = (*_UPLOAD, "update", "prepare", "download", "accounts")
STORAGE = ("start", "put", "query", "cancel", "read")
ANYWHERE = (*CONTROL, *STORAGE)
#: Fields that every fault takes.
COMMON = ("on", "do", "match", "nth", "times", "from")


@dataclass(frozen=True)
class Kind:
    """One kind of fault; `fields` are those that it takes in addition to the common ones."""

    does: str
    on: tuple[str, ...] = ANYWHERE
    fields: tuple[str, ...] = ()


_ANSWER = ("status", "retry_after", "body", "reason")
KINDS: dict[str, Kind] = {
    "reset-before": Kind("the connection is reset; nothing has happened"),
    "reset-after": Kind("it happens, then the connection is reset instead of an answer"),
    "lost-answer": Kind("it happens, then the connection closes without an answer"),
    "status": Kind(
        "nothing happens; the answer is `status` (503). 200 and 201 have an empty body and come "
        "after the whole request was read; with `at_byte`, others come after that many bytes of "
        "it, and the connection closes at once",
        fields=(*_ANSWER, "at_byte"),
    ),
    "status-after": Kind("it happens, but the answer is `status` (503)", fields=_ANSWER),
    "middle-box": Kind(
        "nothing happens; a proxy answers `status` (403), in HTML or with `body`, without a header "
        "of the services",
        fields=("status", "retry_after", "body"),
    ),
    "latency": Kind("it happens after `seconds`", fields=("seconds",)),
    "slow-answer": Kind(
        "it happens; each byte of the answer's body comes `seconds` after the last",
        fields=("seconds",),
    ),
    "hanging-headers": Kind(
        "it happens; one more header line of the answer comes every `seconds`, without end",
        fields=("seconds",),
    ),
    "endless-answer": Kind("it happens; the answer's body never ends"),
    "oversize-answer": Kind(
        "it happens; the answer's body is padded with `size` blanks", fields=("size",)
    ),
    "gzip-answer": Kind(
        "it happens; the answer is padded with `size` blanks and comes as gzip that was not "
        "asked for",
        fields=("size",),
    ),
    "malformed-json": Kind("it happens; the answer is broken JSON", on=CONTROL),
    "other-paths": Kind("the URLs of this answer lead to new object paths", on=("urls",)),
    "expired-url": Kind("nothing happens; the signed URL has expired", ("start", "put")),
    "cut": Kind(
        "the connection is reset after `at_byte` bytes of the body", ("put",), ("at_byte",)
    ),
    "stall": Kind("a pause of `seconds` after `at_byte` bytes", ("put",), ("at_byte", "seconds")),
    "drip": Kind("a pause of `seconds` before each 8 KiB of the body", ("put",), ("seconds",)),
    "store-and-forward": Kind(
        "a proxy takes the whole body at once and passes it on at `bytes_per_s`",
        ("put",),
        ("bytes_per_s",),
    ),
    "short-308": Kind("only the first `at_byte` bytes are kept", ("put",), ("at_byte",)),
    "no-range-308": Kind("nothing is kept: 308 without a Range", ("put",)),
    "lost-range": Kind(
        "it happens, but a proxy removes the header `Range` from the answer", ("put", "query")
    ),
    "no-finish": Kind("all is kept, but the object is not finished", ("put",)),
    "dead-session": Kind(
        "the session is gone: `status` 410, 404 or 499. With `at_byte`, only once the object has "
        "so many bytes",
        ("put", "query"),
        ("status", "at_byte"),
    ),
    "wrong-hash": Kind("the hash in the answer is a different one", ("put", "query")),
    "growing-ack": Kind(
        "`at_byte` fewer bytes are confirmed than are stored", ("query",), ("at_byte",)
    ),
}


def help_text() -> str:
    """The table that `--faults help` prints and docs/sandbox.md contains."""
    lines = ["| fault | can happen on | takes | what it does |", "|---|---|---|---|"]
    for do, kind in KINDS.items():
        on = "every exchange" if kind.on == ANYWHERE else _code(kind.on)
        on = "every call of the control plane" if kind.on == CONTROL else on
        lines.append(f"| `{do}` | {on} | {_code(kind.fields) or '-'} | {kind.does} |")
    return "\n".join((_FORMAT, *lines, ""))


def _code(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


_FORMAT = f"""A fault script is a JSON list of objects:

    [{{"on": "put", "match": "model-00001", "nth": 2, "times": 1, "do": "cut", "at_byte": 700000}}]

Every object has `on`, the exchange that it waits for, and `do`, the fault. It fires from the `nth`
matching exchange on (default 1), `times` times (default 1; 0 = always); `"from": 2` is short for
`"nth": 2, "times": 0`. `match` is a part of the exchange's name: `account/model` on the control
plane, `account/model/file` on storage. Each fault counts on its own; the first one that fires is
applied.

Exchanges of the control plane: {_code(CONTROL)}.
Exchanges of storage: {_code(STORAGE)}; a `put` carries data, a `query` asks for the offset.

`at_byte` and `size` are bytes, `seconds` and `retry_after` seconds, `status` an HTTP status, `body`
text or JSON. `reason` comes as a google.rpc.ErrorInfo in the details of an error.
"""
