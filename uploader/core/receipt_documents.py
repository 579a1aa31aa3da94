"""The documents that prove what was uploaded: a receipt, and its comparison with local files.

A receipt is an in-toto Statement v1, unsigned; docs/receipts.md says what it proves and how to sign
it. It depends on the job alone and not on when it is printed, so that two receipts of one job are
equal, byte for byte.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from typing_extensions import TypedDict

from uploader.core.documents import Time, time_json
from uploader.core.job import FileState, Job
from uploader.core.resumable import encode_crc32c

STATEMENT_TYPE: Literal["https://in-toto.io/Statement/v1"] = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Literal["urn:uploader-for-fireworks:receipt:v1"] = (
    "urn:uploader-for-fireworks:receipt:v1"
)


class DigestJson(TypedDict):
    """The digests of one file."""

    sha256: Annotated[str, "SHA-256 of the whole file in lower-case hexadecimal."]


class SubjectJson(TypedDict):
    """What the statement is about: one file."""

    name: Annotated[str, "Its path below the job's folder."]
    digest: Annotated[DigestJson, "Its digest."]


class ReceiptFileJson(TypedDict):
    """How one file was uploaded."""

    name: Annotated[str, "Its path below the job's folder, as in `subject`."]
    size_bytes: Annotated[int, "Its size."]
    crc32c: Annotated[str, "CRC32C in base64, computed over the bytes as they were sent."]
    sha256_as_sent: Annotated[
        bool,
        "Whether its SHA-256 was computed over the bytes as they were sent. If not, at least a part"
        " of the file was read again, and only size and CRC32C show that it is what was sent.",
    ]
    crc32c_remote: Annotated[
        str | None, "CRC32C of the stored object as the service answered; null if it gave none."
    ]
    verified: Annotated[bool, "Whether the service gave a CRC32C, and it was equal to ours."]
    generation: Annotated[
        str | None,
        "The generation of the stored object as the service answered; null if it gave none.",
    ]
    bytes_sent: Annotated[int, "Bytes sent in the job's last run, including those sent again."]
    bytes_resent: Annotated[int, "How many of them were sent again."]
    attempts: Annotated[int, "How many tries failed."]


class ReceiptJobJson(TypedDict):
    """The predicate: how the files came to the service."""

    model: Annotated[str, "The resource name: `accounts/ACCOUNT/models/MODEL`."]
    base_url: Annotated[str, "The base URL of the service."]
    path: Annotated[str, "The folder, as a real path."]
    kind: Annotated[Literal["base", "lora", "embedding", "draft"], "What the folder became."]
    created_at: Annotated[Time, "When the job was enqueued."]
    upload_started_at: Annotated[Time | None, "When the upload of the files began."]
    uploaded_at: Annotated[Time | None, "When the last file was stored."]
    ready_at: Annotated[Time | None, "When the service called the model READY."]
    bytes_total: Annotated[int, "The size of all files together."]
    bytes_sent: Annotated[int, "Bytes sent in the job's last run, including those sent again."]
    attempts: Annotated[int, "How many tries of the job itself failed."]
    warnings: Annotated[list[str], "Warnings of validateUpload, in the service's words."]
    versions: Annotated[dict[str, str], "The program that made the receipt, with its version."]
    files: Annotated[list[ReceiptFileJson], "Its files by path."]


class ReceiptDocument(TypedDict):
    """`uploader receipt`: an in-toto Statement v1. See [receipts.md](receipts.md)."""

    _type: Annotated[Literal["https://in-toto.io/Statement/v1"], "The kind of document."]
    subject: Annotated[list[SubjectJson], "The files by path."]
    predicateType: Annotated[
        Literal["urn:uploader-for-fireworks:receipt:v1"], "What `predicate` consists of."
    ]
    predicate: Annotated[ReceiptJobJson, "How they came to the service."]


class DifferenceJson(TypedDict):
    """One thing that is not as the receipt says."""

    path: Annotated[str | None, "The file, by its path below the folder; null for the model."]
    what: Annotated[
        Literal["missing", "unreadable", "size", "crc32c", "sha256", "model", "state", "files"],
        "What differs: a local file, or, if it was asked for, the model, its state or its files.",
    ]
    message: Annotated[str, "The same as one sentence."]


class VerificationDocument(TypedDict):
    """`uploader verify --json`: local files, and the model, compared with a receipt or a job."""

    schema: Annotated[Literal["uploader.verify/1"], "The name and version of this document."]
    model: Annotated[str, "The resource name: `accounts/ACCOUNT/models/MODEL`."]
    job_id: Annotated[int | None, "The job compared with; null if it was a receipt."]
    receipt: Annotated[str | None, "The file of the receipt compared with; null if it was a job."]
    path: Annotated[str, "The folder whose files were read."]
    online: Annotated[bool, "Whether the service was asked, too."]
    files_total: Annotated[int, "How many files were compared."]
    bytes_total: Annotated[int, "The size that they should have together."]
    differences: Annotated[list[DifferenceJson], "All differences; empty if there are none."]


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as it should be; ``path`` is None if it is not about one file."""

    path: str | None
    what: Literal["missing", "unreadable", "size", "crc32c", "sha256", "model", "state", "files"]
    message: str

    def as_json(self) -> DifferenceJson:
        """As the document has it."""
        return {"path": self.path, "what": self.what, "message": self.message}


def receipt_document(
    job: Job, files: Sequence[FileState], digests: Mapping[str, str], version: str
) -> ReceiptDocument:
    """The receipt of a job that is done; ``digests`` has the SHA-256 of each file by its path."""
    return {
        "_type": STATEMENT_TYPE,
        "subject": [
            {"name": file.path, "digest": {"sha256": digests[file.path]}} for file in files
        ],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "model": job.model,
            "base_url": job.base_url,
            "path": job.path,
            "kind": job.kind.value,
            "created_at": time_json(job.created_at),
            "upload_started_at": time_json(job.upload_started_at)
            if job.upload_started_at
            else None,
            "uploaded_at": time_json(job.uploaded_at) if job.uploaded_at else None,
            "ready_at": time_json(job.ready_at) if job.ready_at else None,
            "bytes_total": job.bytes_total,
            "bytes_sent": job.bytes_sent,
            "attempts": job.attempts,
            "warnings": list(job.warnings),
            "versions": {"uploader": version},
            "files": [_file_json(file) for file in files],
        },
    }


def _file_json(file: FileState) -> ReceiptFileJson:
    crc32c = encode_crc32c(file.crc32c or 0)
    return {
        "name": file.path,
        "size_bytes": file.size_bytes,
        "crc32c": crc32c,
        "sha256_as_sent": file.sha256 is not None and file.sha256_as_sent,
        "crc32c_remote": crc32c if file.verified else None,  # verified: the two are equal
        "verified": file.verified,
        "generation": None if file.generation is None else str(file.generation),
        "bytes_sent": file.bytes_sent,
        "bytes_resent": max(0, file.bytes_sent - file.size_bytes),
        "attempts": file.attempts,
    }


def sums(receipt: ReceiptDocument) -> str:
    """The lines of a SHA256SUMS file, as `sha256sum --check` reads them; without the last newline.

    No name needs an escape: one that does is neither sent nor believed of a row (`sendable`).
    """
    return "\n".join(f"{one['digest']['sha256']}  {one['name']}" for one in receipt["subject"])
