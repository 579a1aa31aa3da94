"""The check of a signature that comes with a model: `model.sig` of OpenSSF Model Signing 1.0."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from typing import Any, BinaryIO

from uploader import files
from uploader.core.distribution import install
from uploader.core.text import some
from uploader.model.finding import Finding, error, warning
from uploader.model.reading import Malformed, parse_object, read_object
from uploader.preflight.contents import Contents

SIGNATURE = "model.sig"
#: A file may be this many times as long as the room that it takes on a disk that compresses.
_MAX_FACTOR = 16
#: Beyond that they have holes, which take no room and as long to be read. This much of those is
#: read all the same: not every file system tells how much room a file takes.
_HOLES_BYTES = 64 << 30
_ROOM_BYTES = 512
_BLOCK_BYTES = 1 << 20
_HINT = f"`model_signing verify METHOD … --signature {SIGNATURE} FOLDER` checks who signed it"


def model_sig(contents: Contents) -> Iterable[Finding]:
    """A model.sig, whose list of digests is compared with the files if `model-signing` is there.

    Without a key or a name that the reader trusts, nobody can tell whose signature it is. All the
    bytes that it lists are read, so this takes as long as reading the model.
    """
    there = {*contents.folder.names, *(left.path for left in contents.folder.left_out)}
    if SIGNATURE not in there:
        return
    if find_spec("model_signing") is None:  # who has it wants this, although it takes long
        message = f"{SIGNATURE} was not verified: model-signing is not installed"
        hint = f"{install('signatures')}; {_HINT}"
        yield warning("model_sig", SIGNATURE, message, hint)
        return
    try:
        listed = _listed(read_object(contents.root / SIGNATURE))
        wanted = {n: digest for n, digest in listed.items() if n in contents.sound}
        found = _digests(contents, wanted)
    except (ValueError, OSError) as problem:
        words = problem if isinstance(problem, Malformed) else "is not understood"
        yield warning("model_sig", SIGNATURE, f"{SIGNATURE} {words}: not verified", _HINT)
    else:
        yield from _compared(wanted, found)


def _compared(wanted: Mapping[str, str], found: Mapping[str, str]) -> Iterable[Finding]:
    changed = sorted(name for name, digest in wanted.items() if found.get(name) != digest)
    if changed:
        message = f"{SIGNATURE} lists a different digest for {some(changed)}"
        hint = "download the model again, or sign it as it is now"
        yield error("model_sig", changed[0], message, hint)
    else:
        message = f"{len(wanted)} files match {SIGNATURE}; its signer was not checked"
        yield warning("model_sig", SIGNATURE, message, _HINT)


def _listed(bundle: Mapping[str, Any]) -> dict[str, str]:
    """The SHA-256 of each file by its name, as the signed statement has them."""
    try:
        payload = base64.b64decode(bundle["dsseEnvelope"]["payload"])
        statement = parse_object(payload.decode())
        predicate = statement["predicate"]
        digests = {str(one["name"]): str(one["digest"]) for one in predicate["resources"]}
        kind = (predicate["serialization"]["method"], predicate["serialization"]["hash_type"])
    except (KeyError, TypeError, ValueError, RecursionError):
        raise Malformed("is not a bundle of OpenSSF Model Signing") from None
    if kind != ("files", "sha256"):
        raise Malformed("lists digests other than SHA-256 of whole files")
    return digests


def _digests(contents: Contents, names: Iterable[str]) -> dict[str, str]:
    """The SHA-256 of the files, of each file once.

    The hasher of `model-signing` reads whatever a file has grown to, in a thread that nothing
    stops. Raises Malformed if the files have more holes than any weights.
    """
    known: dict[tuple[int, int], str] = {}
    found: dict[str, str] = {}
    holes_bytes = 0
    for name in names:
        with files.opened(contents.root / name) as file:
            facts = os.fstat(file.fileno())
            one = facts.st_dev, facts.st_ino
            if one not in known:
                room_bytes = _MAX_FACTOR * _ROOM_BYTES * facts.st_blocks
                holes_bytes += max(0, facts.st_size - room_bytes)
                if holes_bytes > _HOLES_BYTES:
                    raise Malformed("lists files that consist of holes")
                known[one] = _digest(file, facts.st_size)
            found[name] = known[one]
    return found


def _digest(file: BinaryIO, size_bytes: int) -> str:
    """The SHA-256 of the first ``size_bytes``, or of all that there is. Raises Stopped."""
    sha256, left_bytes = hashlib.sha256(), size_bytes
    while block := file.read(min(_BLOCK_BYTES, left_bytes)):
        sha256.update(block)
        left_bytes -= len(block)
        files.check_look()
    return sha256.hexdigest()
