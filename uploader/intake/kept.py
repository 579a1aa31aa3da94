"""Which stored files a new run keeps: those whose bytes are still the ones that were verified.

They are read by whoever asks for the new run, before its one transaction begins: the folder is
looked at there anyway, the outcome is known at once, and until then nothing has changed, so that
a reading that is interrupted leaves the job as it was. A worker that read them would hold a job,
and report its files as stored, on a guess.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from uploader.core.errors import JobError
from uploader.core.job import FileState, Job, Manifest, PrefixCrc
from uploader.model.fingerprint import same
from uploader.model.links import Private
from uploader.runtime import StopToken
from uploader.sources.base import Source
from uploader.sources.reader import Reader, Sent, source_of


def worth_reading(job: Job, files: Iterable[FileState], manifest: Manifest) -> list[FileState]:
    """The stored and verified files whose size is still the same, if their model is still there."""
    if not job.model_exists or job.replace_first:
        return []
    sizes = {file.path: file.size_bytes for file in manifest.files}
    return [
        file
        for file in files
        if file.stored and file.verified and sizes.get(file.path) == file.size_bytes
    ]


def unchanged(
    files: Iterable[FileState], manifest: Manifest, private: Private
) -> Iterator[FileState]:
    """Those of the stored ``files`` whose bytes, read once more, have the digests they had.

    That is the CRC32C, and the SHA-256 if it is known. Their fingerprints are those that they have
    now, and say whether somebody has the file open for writing.

    Each is read in blocks, whatever its size. One that cannot be read, or is written to meanwhile,
    is not kept.
    """
    source = source_of(manifest.root, private)
    fingerprints = {file.path: file.fingerprint for file in manifest.files}
    for file in files:
        if found := _if_unchanged(source, file, fingerprints[file.path]):
            yield replace(file, fingerprint=found)


def _if_unchanged(source: Source, file: FileState, fingerprint: str) -> str | None:
    """Its fingerprint; None if it is another file."""
    stop = StopToken()
    try:
        opened = source.open(replace(file, fingerprint=fingerprint), stop)
        with Reader(opened, stop) as reader:
            if not same(fingerprint, reader.fingerprint):
                return None
            if reader.size_bytes != file.size_bytes or file.crc32c is None:
                return None
            whole = PrefixCrc(file.size_bytes, file.crc32c)
            if file.sha256 and not reader.proves(Sent(whole, file.sha256)):
                return None
            matches = reader.matches(whole)
            reader.check()
            return reader.fingerprint if matches else None
    except JobError:
        return None
