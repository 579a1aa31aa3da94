"""`uploader receipt` and `uploader verify`: proof of what was uploaded."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from uploader import wiring
from uploader.cli import completion
from uploader.cli.failures import fail
from uploader.cli.looking import looking
from uploader.cli.options import AsJson, OneJob
from uploader.cli.settings import settings_of
from uploader.cli.terminal import out, out_json, out_plain, out_wrapped, width
from uploader.core.errors import Differs, NotFound, StoreError, UsageError
from uploader.core.reasons import Code
from uploader.core.receipt_documents import Difference, VerificationDocument, sums
from uploader.core.text import size

if TYPE_CHECKING:
    from uploader.core.job import FileState
    from uploader.core.whole_job import WholeJob
    from uploader.intake.verify import Proof
    from uploader.settings.schema import Settings
    from uploader.store.jobs import Jobs

_UNSEALED_HINT = (
    "a receipt that was printed earlier still proves what was sent; "
    "a job that was done before `database_secret_file` was set has no seals"
)
_RECEIPT_HINT = "a receipt is a file with a / in its name, as ./receipt has, or .json at its end"


def receipt(
    context: typer.Context,
    job: OneJob,
    as_sums: Annotated[
        bool,
        typer.Option("--sums", help="Print the lines of a SHA256SUMS file instead."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Print proof of what was uploaded: an in-toto statement of every file, to keep and to sign.

    A file whose SHA-256 was not computed while it was sent is read, and must be the one sent.

    Example: uploader receipt my-model > receipt.json
    """
    from uploader.intake.receipt import receipt_of, require_proof, unread

    if as_sums and as_json:
        raise UsageError("a SHA256SUMS file is not JSON", hint="give --sums or --json")
    with wiring.Store(settings_of(context)) as store:
        known = store.need()
        found = known.find(job)
        files = _sealed(known, found)
    require_proof(found, files)
    with _progress(sum(file.size_bytes for file in unread(files))) as read:
        document = looking(Path(found.path), lambda: receipt_of(found, files, read))
    if as_sums:
        out_plain(sums(document))
    else:
        out_json(document)


def verify(
    context: typer.Context,
    job: Annotated[
        str,
        typer.Argument(
            metavar="JOB|RECEIPT",
            help="A job that is done, or the file of its receipt: with a / in its name, or .json"
            " at its end.",
            show_default=False,
            autocompletion=completion.jobs,
        ),
    ],
    path: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Read the files in PATH. Default: where they were uploaded from.",
            show_default=False,
        ),
    ] = None,
    online: Annotated[
        bool,
        typer.Option("--online", help="Also ask the service for the model's state and files."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Read local files again and compare them with what was uploaded.

    Exit 0 if everything is as it was sent, 12 if anything differs.

    Example: uploader verify receipt.json --path ./my-model
    """
    settings = settings_of(context)
    proof = _proof(settings, job)
    root = path or Path(proof.root)
    found = [*_differences(settings, proof, root, online=online)]
    document = _verification(proof, root, found, online=online)
    if not as_json:
        _print(found, proof)
    elif not found:
        out_json(document)
    if found:
        raise typer.Exit(fail(_refusal(found, proof), as_json=as_json, result=document))


def _verification(
    proof: Proof, root: Path, found: list[Difference], *, online: bool
) -> VerificationDocument:
    return {
        "schema": "uploader.verify/1",
        "model": proof.model,
        "job_id": proof.job_id,
        "receipt": proof.receipt,
        "path": str(root),
        "online": online,
        "files_total": len(proof.files),
        "bytes_total": proof.size_bytes,
        "differences": [one.as_json() for one in found],
    }


def _proof(settings: Settings, given: str) -> Proof:
    from uploader.intake.verify import names_receipt, proof_of_job, proof_of_receipt

    if names_receipt(given):
        return proof_of_receipt(Path(given))
    try:
        with wiring.Store(settings) as store:
            known = store.need()
            job = known.find(given)
            return proof_of_job(job, _sealed(known, job))
    except NotFound as error:
        raise NotFound(error.message, hint=f"{error.hint}; {_RECEIPT_HINT}") from None


def _sealed(jobs: Jobs, job: WholeJob) -> list[FileState]:
    """The files of the job. Raises Differs if the table has a secret, and it or one has no seal.

    Its own seal says for which model it was, and how many files it has.
    """
    try:
        return jobs.sealed_files(jobs.sealed(job))
    except (StoreError, UsageError) as error:
        if error.code is not Code.UNSEALED:
            raise
        raise Differs(f"{error.message}: nothing can be proven", hint=_UNSEALED_HINT) from None


def _differences(
    settings: Settings, proof: Proof, root: Path, *, online: bool
) -> Iterator[Difference]:
    from uploader.intake.verify import compare_files, compare_model

    if online:  # first, because it is quick
        service = wiring.service(settings)
        try:
            yield from compare_model(proof, service, settings.fireworks.base_url)
        finally:
            service.close()
    with _progress(proof.size_bytes) as read:
        yield from looking(root, lambda: [*compare_files(proof, root, read)])


def _print(found: list[Difference], proof: Proof) -> None:
    columns = width()
    for one in found:
        if columns is None:
            out(one.path or proof.model, one.what, one.message)
        else:
            out_wrapped(one.message, columns)
    if not found:
        some = f", {proof.by_crc32c} of them by CRC32C only" if proof.by_crc32c else ""
        same = f"{len(proof.files)} files, {size(proof.size_bytes)}: as they were sent{some}"
        out(f"{same} (compared with {proof.origin})")


def _refusal(found: list[Difference], proof: Proof) -> Differs:
    differ = f"{found[0].message}" + (f"; {len(found)} differences in all" if found[1:] else "")
    return Differs(f"{proof.model}: {differ} (compared with {proof.origin})")


@contextmanager
def _progress(total_bytes: int) -> Iterator[Callable[[int], None]]:
    """Takes the lengths of blocks as they are read; a bar if stderr is a terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from uploader.cli.reading import reading  # rich is slow to import

    with reading(total_bytes, sys.stderr) as read:
        yield read
