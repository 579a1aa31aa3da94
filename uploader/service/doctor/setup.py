"""The configuration, the API key, the state folder and the store in it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress

from uploader import mounts, wiring
from uploader.core import addresses
from uploader.core.database_url import TLS_HINT, is_shared
from uploader.core.doctor_documents import Check, Health
from uploader.core.errors import UploaderError, UsageError
from uploader.core.job import Status
from uploader.core.reasons import Code
from uploader.core.text import size
from uploader.core.why import deserted
from uploader.service.http.door import addresses_of, answers, is_ours
from uploader.settings.hooks import deaf
from uploader.settings.load import describe, relative
from uploader.settings.schema import Settings
from uploader.settings.strangers import replaceable
from uploader.store.database.sqlite import library_version

_LITTLE_BYTES, _FEW_BYTES = 1 << 30, 64 << 20


def checks(settings: Settings, store: wiring.Store) -> Iterator[Check]:
    """Those that need neither the network nor a job."""
    yield from _configuration(settings)
    yield _key(settings)
    yield from _state_folder(settings)
    yield _store(settings, store)
    yield from _way(settings)
    yield from _secret(settings, store)
    yield (worker := _worker(settings, store))
    yield from _api(settings, running=worker.status is Health.OK)


def _configuration(settings: Settings) -> Iterator[Check]:
    made = [f"{name} ({origin})" for name, _, origin in describe(settings) if origin != "default"]
    where = str(settings.config_file or "no file")
    words = f"{where}; not a default: {', '.join(made) or 'nothing'}"
    yield Check("configuration", Health.OK, words)
    programs = (*deaf(settings.hooks), *replaceable(settings))
    for warning in (*settings.warnings, *relative(settings), *programs):
        yield Check("configuration", Health.WARN, warning, "see `uploader config check`")
    if doubts := addresses.doubts(settings.fireworks.base_url):
        yield Check("base_url", Health.WARN, doubts, "check fireworks.base_url")


def _key(settings: Settings) -> Check:
    origin = wiring.api_key_origin(settings)
    if not origin:
        return Check("api_key", Health.FAIL, "there is no API key", Code.NO_KEY.hint)
    try:
        kind = wiring.api_key_kind(settings)
    except UploaderError as problem:
        return Check("api_key", Health.FAIL, problem.message, problem.hint)
    return Check("api_key", Health.OK, f"from {origin}; {kind}")


def _state_folder(settings: Settings) -> Iterator[Check]:
    folder = settings.state_dir
    nearest = next((one for one in (folder, *folder.parents) if one.exists()), folder)
    free = shutil.disk_usage(nearest).free
    little = Health.FAIL if free < _FEW_BYTES else Health.WARN
    status = little if free < _LITTLE_BYTES else Health.OK
    hint = "" if status is Health.OK else "make room, or set UPLOADER_STATE_DIR to another disk"
    there = "" if folder.exists() else " (not made yet)"
    yield Check("state_folder", status, f"{folder}{there}, {size(free)} free", hint)
    table = settings.store_file
    if table is None:
        yield Check("file_system", Health.OK, "the job table is not a file of this machine")
    elif doubts := mounts.doubts(table):
        yield Check("file_system", Health.WARN, doubts, "put the job table on a local disk")
    else:
        yield Check("file_system", Health.OK, "a local disk")


def _store(settings: Settings, store: wiring.Store) -> Check:
    shared = is_shared(settings.database_url)
    version = "PostgreSQL" if shared else f"SQLite {library_version()}"
    try:
        found = store.version()
        if found is None:
            return Check("store", Health.OK, f"there is none yet; {version}")
        store.check()
        jobs = sum(store.need().counts().values())
    except UploaderError as problem:
        return Check("store", Health.FAIL, problem.message, problem.hint)
    looked = "" if shared else "undamaged, "  # only a file is read for damage
    return Check("store", Health.OK, f"version {found}, {looked}{jobs} jobs; {version}")


def _way(settings: Settings) -> Iterator[Check]:
    with suppress(UsageError):  # the store's check says that
        if doubts := wiring.doubts(settings):
            yield Check("database_tls", Health.WARN, doubts, TLS_HINT)


def _secret(settings: Settings, store: wiring.Store) -> Iterator[Check]:
    """Others can only write a job table that is not a file of this user."""
    with suppress(UploaderError):  # the store's check says that
        if (table := store.find()) and (sealed := wiring.left_alone(settings, table)):
            yield Check("database_secret", Health.FAIL, sealed, wiring.SEALED_HINT)
            return
    if not is_shared(settings.database_url):
        return
    if settings.database_secret_file is None:
        words = "whoever may write the database says which files are sent, and where"
        yield Check("database_secret", Health.WARN, words, "set database_secret_file")
        return
    try:
        wiring.seal(settings)
    except UsageError as problem:
        yield Check("database_secret", Health.FAIL, problem.message, problem.hint)
        return
    yield Check("database_secret", Health.OK, "rows of others are not believed")


def _api(settings: Settings, *, running: bool) -> Iterator[Check]:
    address = next(filter(answers, addresses_of(settings.state_dir)), None)
    if address:
        yield _proven(settings, address)
    elif running and not settings.api.off and not is_shared(settings.database_url):
        # With PostgreSQL the worker may be on another machine.
        hint = "see the worker's log: if another program has the port, set api.listen"
        yield Check("api", Health.WARN, "a worker runs, but its API does not listen", hint)


def _proven(settings: Settings, address: str) -> Check:
    try:
        if is_ours(settings, address, wiring.clock().now()):
            return Check("api", Health.OK, f"listens on {address}")
    except (UsageError, OSError) as problem:
        return Check("api", Health.WARN, str(problem), getattr(problem, "hint", ""))
    words = f"who listens at {address} does not prove to be the API of this state folder"
    return Check("api", Health.WARN, words, "see the worker's log, and choose another api.listen")


def _worker(settings: Settings, store: wiring.Store) -> Check:
    url, hint = settings.fireworks.base_url, "start `uploader run`, or install the service"
    try:
        table = store.find()
        scopes = [*store.living().values()] if table else []
        sealed = settings.database_secret_file is not None
        if any(scope.takes_all(url, sealed=sealed) for scope in scopes):
            return Check("worker", Health.OK, "a worker runs")
        active = table.stream(statuses=[Status.ACTIVE]) if table else ()
        waits = any(deserted(job) and job.base_url == url for job in active)
    except UploaderError:
        return Check("worker", Health.WARN, "the store says nothing about workers")
    none = "no worker runs that takes every job from here" if scopes else "no worker runs"
    if waits:
        return Check("worker", Health.FAIL, f"{none}, and jobs wait for one", hint)
    return Check("worker", Health.WARN, none, hint)
