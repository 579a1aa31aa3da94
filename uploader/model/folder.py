"""Makes a manifest of a folder: its top-level regular files, and why others are left out.

Links are followed as `links` allows: a Hugging Face cache snapshot consists of links into
../../blobs (docs/fireworks.md §13.11). Nested files are not sent (docs/fireworks.md §2.6).
"""

from __future__ import annotations

import os
import re
import shlex
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import translate
from pathlib import Path
from typing import BinaryIO

from uploader import files
from uploader.core.errors import NotFound, PreflightRefused, UsageError
from uploader.core.job import Manifest, ManifestFile
from uploader.core.text import clean, flaw_of_path, sendable, shown
from uploader.model.elsewhere import advice, as_given
from uploader.model.finding import Finding, error, warning
from uploader.model.fingerprint import fingerprint_of, same
from uploader.model.links import NOTHING, OURS, Private, leads_outside
from uploader.model.names import Role, leftover, needed, role
from uploader.model.reading import Allowance
from uploader.model.safetensors import has_sound_header

#: In a folder of more names nothing is read (docs/preflight.md §1). A job of this many files holds
#: up no other for longer than a moment.
MOST_NAMES = 10_000
#: As much as is read of all headers of links out of a folder: more than any model has.
_LINKED_HEADERS_BYTES = 400_000_000
#: Checks that nobody may overrule.
SECRET_FILE = "secret_file"  # noqa: S105 - the name of a check
_OUTSIDE = "outside_link"
#: The checks of this file for the table of `preflight`: what each does, and why.
SEEN_BY_SCAN: Mapping[str, tuple[str, str]] = {
    "unreadable_file": (
        "refuses or warns",
        "A file that this user may not read; if it is not needed, it only warns and is not sent.",
    ),
    "dangling_link": (
        "refuses or warns",
        "A link that leads to no file; it only warns in place of a file that is not read.",
    ),
    _OUTSIDE: (
        "refuses or warns",
        "A link that ends outside the folder, or at what is hidden; for weights it only warns.",
    ),
    SECRET_FILE: (
        "refuses",
        "The API key's file, the configuration, the state store, or a small file with the API key.",
    ),
    "special_file": ("refuses or warns", "A pipe, a socket or a device."),
    "unsendable_name": (
        "refuses or warns",
        "A name with control characters, a backslash or invalid UTF-8; warns if not needed.",
    ),
    "unmatched_pattern": ("warns", "An `include` or `exclude` that matches no name."),
}


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A name that is not sent, and why; its size is None if it has none."""

    path: str
    why: str
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Folder:
    """What `scan` found: the files to send, those left out, and what is wrong with any of them."""

    manifest: Manifest
    left_out: tuple[LeftOut, ...] = ()
    findings: tuple[Finding, ...] = ()

    @property
    def root(self) -> Path:
        """The folder, as a real path."""
        return Path(self.manifest.root)

    @property
    def names(self) -> tuple[str, ...]:
        """The names to send, in their order."""
        return tuple(file.path for file in self.manifest.files)

    @property
    def present(self) -> frozenset[str]:
        """The names to send, and those that would be sent if they were not already refused."""
        refused = {f.file for f in self.findings if f.severity == "error" and f.file is not None}
        return frozenset({*self.names, *refused})

    def without_outsiders(self) -> Folder:
        """The folder without the links out of it that are errors: nobody may read them."""
        refused = {f.file for f in self.findings if (f.check, f.severity) == (_OUTSIDE, "error")}
        files = tuple(f for f in self.manifest.files if shown(f.path) not in refused)
        return replace(self, manifest=replace(self.manifest, files=files))


def scan(
    path: Path,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    private: Private = NOTHING,
) -> Folder:
    """List the folder ``path``; only names, inodes and the headers of linked files are read.

    Small files are read, too, if an API key is known: one that holds it is never sent.
    ``include`` and ``exclude`` are globs on names: the first add files left out by default, the
    second leave out more and win. What is ``private`` is never sent. Raises NotFound, UsageError if
    ``path`` is not a folder, PreflightRefused if it cannot be listed or holds too many names.
    """
    with files.touching(path):
        root = _real_folder(path)
        names = _listing(root)
    rules = _Rules(_compiled(include), _compiled(exclude), private)
    seen = [found for name in names for found in _decide(root, name, rules)]
    taken = (one for one in seen if isinstance(one, ManifestFile))
    ordered = sorted(taken, key=lambda file: (role(file.path), file.path))
    return Folder(
        Manifest(str(root), tuple(ordered), same),
        tuple(one for one in seen if isinstance(one, LeftOut)),
        (
            *(one for one in seen if isinstance(one, Finding)),
            *_unmatched(names, rules.include, "`include`"),
            *_unmatched(names, rules.exclude, "`exclude`"),
        ),
    )


def _real_folder(path: Path) -> Path:
    if flaw := flaw_of_path(str(path)):
        raise NotFound(f"no folder {shown(str(path))}: it {flaw}", hint="check the path")
    try:
        root = files.real(path)
    except OSError as problem:
        message = f"no folder {shown(as_given(path))}: {problem.strerror}"
        raise NotFound(message, hint=shown(advice(path))) from None
    if not Path(root).is_dir():
        hint = f"give the folder: {shlex.quote(shown(str(Path(root).parent)))}"
        raise UsageError(f"{shown(str(path))} is not a folder", hint=hint)
    if not clean(root):
        hint = "rename the folder, or the folder above it with such a name"
        raise UsageError(f"the path {shown(root)} is not one line of UTF-8", hint=hint)
    return Path(root)


def _listing(root: Path) -> list[str]:
    try:
        with files.listed(root, MOST_NAMES + 1) as entries:
            names = [entry.name for entry in entries]
    except OSError as problem:
        message = f"the folder {root} cannot be listed: {problem.strerror}"
        raise PreflightRefused(message, hint="let this user read it") from None
    if len(names) > MOST_NAMES:
        message = f"the folder {root} holds more than {MOST_NAMES:,} names"
        hint = "give a folder with the files of one model, and nothing else"
        raise PreflightRefused(message, hint=hint)
    return sorted(names)


_Seen = ManifestFile | LeftOut | Finding
#: Globs as they were given, ready to match. `fnmatch` would keep each that was ever asked for.
_Globs = Mapping[str, re.Pattern[str]]


def _compiled(globs: Sequence[str]) -> _Globs:
    return {glob: re.compile(translate(glob)) for glob in globs}


def _matches(name: str, globs: _Globs) -> bool:
    return any(pattern.match(name) for pattern in globs.values())


@dataclass(frozen=True, slots=True)
class _Rules:
    """What a scan decides by, and what it has found out on the way."""

    include: _Globs
    exclude: _Globs
    private: Private
    #: Whether a file, by device, inode and age, is weights: it may have countless names.
    weights: dict[tuple[int, ...], bool] = field(default_factory=dict)
    headers: Allowance = field(default_factory=lambda: Allowance(_LINKED_HEADERS_BYTES))


def _decide(root: Path, name: str, rules: _Rules) -> list[_Seen]:
    with files.touching(root / name):
        return [*_decided(root, name, rules)]


def _decided(root: Path, name: str, rules: _Rules) -> Iterator[_Seen]:
    """Decide about one name: by its name first, so that nothing unwanted is even opened."""
    why = _why_left_out(name, rules.include, rules.exclude)
    if why:
        yield LeftOut(shown(name), why, _size_bytes(root / name))
        return
    try:
        found = (root / name).stat()
    except OSError as problem:
        yield _dangling(name, problem)
        return
    if stat.S_ISDIR(found.st_mode):
        yield LeftOut(shown(name), "a folder: only top-level files are sent")
    elif not stat.S_ISREG(found.st_mode):
        yield _special(name)
    elif not sendable(name):
        yield _unsendable(name)
    elif rules.private.holds(found):  # not even opened: it may be locked by this process
        yield _secret(name, OURS)
    else:
        yield from _open(root, name, rules)


def _size_bytes(path: Path) -> int | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def _why_left_out(name: str, include: _Globs, exclude: _Globs) -> str | None:
    if _matches(name, exclude):
        return "`exclude`"
    return None if _matches(name, include) else leftover(name)


def _open(root: Path, name: str, rules: _Rules) -> Iterator[_Seen]:
    """Size and fingerprint of the file that was opened, not of the one that was listed."""
    try:
        target = leads_outside(root, name)
        with files.opened(root / name) as file:
            found = os.fstat(file.fileno())
            if why := rules.private.why_kept(file.fileno()):
                yield _secret(name, why)
                return
            weights = target is not None and _are_weights(name, file, rules)
            place = files.place(file.fileno()) if target is not None else ""
    except files.NotAFile:
        yield _special(name)
        return
    except OSError as problem:
        yield _unreadable(name, problem)
        return
    if target is not None:
        yield _outside(root, name, target, weights=weights)
    if not found.st_size and (role(name) is Role.OTHER or not needed(name)):
        # the service may refuse empty objects (docs/fireworks.md §2.4)
        yield LeftOut(name, "empty", 0)
    else:
        yield ManifestFile(name, found.st_size, fingerprint_of(found, place))


def _secret(name: str, why: str) -> Finding:
    hint = "remove it from the folder, or `exclude` it"
    return error(SECRET_FILE, name, f"{name} {why}", hint)


def _outside(root: Path, name: str, target: Path, *, weights: bool) -> Finding:
    """Folders of links to shards are common, and weights show by their header what they are."""
    message = f"{name} is a link out of the folder, to {target}"
    if target.is_relative_to(root):
        message = f"{name} is a link to {target.relative_to(root)}, which is left out itself"
    hint = "copy the file into the folder, or leave it out with `exclude`"
    severity = warning if weights else error
    return severity(_OUTSIDE, name, message, hint)


def _are_weights(name: str, file: BinaryIO, rules: _Rules) -> bool:
    """Of what is open: the name may lead to another file by now."""
    if not name.endswith(".safetensors"):
        return False
    facts = os.fstat(file.fileno())
    one = facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns
    if one not in rules.weights:
        rules.weights[one] = has_sound_header(file, rules.headers)
    return rules.weights[one]


def _dangling(name: str, problem: OSError) -> Finding:
    """A file that nobody reads, such as a README, is not missed."""
    severity = _severity(name)
    if isinstance(problem, PermissionError):
        return _unreadable(name, problem)
    message = f"{name} leads to no file: {problem.strerror}"
    hint = "download the model again, or leave it out with `exclude`"
    return severity("dangling_link", name, message, hint)


def _severity(name: str) -> Callable[[str, str, str, str], Finding]:
    """A model works without a file that is not needed: it is not sent, with a warning."""
    return error if needed(name) else warning


def _unreadable(name: str, problem: OSError) -> Finding:
    hint = "let this user read it, or leave it out with `exclude`"
    message = f"{name} cannot be read: {problem.strerror}"
    return _severity(name)("unreadable_file", name, message, hint)


def _special(name: str) -> Finding:
    """A pipe in place of weights breaks the model; one alongside them does not."""
    severity = _severity(name)
    message = f"{name} is a pipe, a socket or a device and is not sent"
    return severity("special_file", name, message, "remove it, or `exclude` it")


def _unsendable(name: str) -> Finding:
    message = f"the name {name} cannot be sent: control characters, backslash or invalid UTF-8"
    hint = "rename the file, or leave it out with `exclude`"
    return _severity(name)("unsendable_name", name, message, hint)


def _unmatched(names: list[str], globs: _Globs, option: str) -> Iterable[Finding]:
    for glob, pattern in globs.items():
        if not any(map(pattern.match, names)):
            message = f"{option} '{glob}' matches no top-level name"
            yield warning("unmatched_pattern", None, message, "globs match names, not paths")
