"""What others may have written is not believed in grave matters; what they may read is reported."""

from __future__ import annotations

import os
import shlex
import shutil
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from uploader.core.errors import UsageError
from uploader.settings.schema import Settings
from uploader.ways import hostile

#: Settings that run a command, decide where the API key is sent, or name the job table, whose
#: rows say which files are sent where. All of the HTTP API's are as grave.
_GRAVE = (
    "fireworks.api_key_command",
    "fireworks.api_key_file",
    "fireworks.base_url",
    "fireworks.ca_bundle",
    "database_url",
    "database_secret_file",
    "state_dir",
    "hooks",
)
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_OTHERS_READ = stat.S_IRGRP | stat.S_IROTH


def refuse_strangers_words(settings: Settings, facts: os.stat_result) -> None:
    """Refuse the grave settings of a file that others may write, or put in the place of another.

    ``facts`` are those of the file that was read. Raises UsageError.
    """
    file = settings.config_file
    said = [key for key, given in settings.given.items() if given.origin == str(file)]
    grave = next((key for key in said if key in _GRAVE or key.startswith("api.")), None)
    if file is None or grave is None:
        return
    if _others_write(facts):
        why, hint = f"others may write {file}", _keep_others_out(file)
    elif folder := hostile(file):
        why = f"others may replace {file}: {folder}"
        hint = "move it below folders that only you and root may write"
    elif not _is_still(file, facts):
        why, hint = f"{file} was replaced while it was read", "try again"
    else:
        return
    raise UsageError(f"{grave} is refused: {why}", hint=f"{hint}, or set the variable instead")


def exposed(settings: Settings) -> Iterator[str]:
    """A warning for each file that others may replace or write; of a secret, also read."""
    yield from _exposed([*_secret_files(settings)], [*_believed_files(settings)])


def replaceable(settings: Settings) -> Iterator[str]:
    """A warning for each program that others may replace or write, or that another folder has, too.

    Only a worker, `doctor` and `config check` ask: a disk of PATH may not answer.
    """
    yield from _exposed([], [*_programs(settings)])
    for what, command in _commands(settings):
        if "/" in command[0] and not command[0].startswith("/"):
            where = "whatever has that name in the folder that a command starts in is run"
            yield f"{what} is relative: {where}; write the whole path"


_Named = list[tuple[str, Path]]


def _exposed(secrets: _Named, believed: _Named) -> Iterator[str]:
    for what, file in (*secrets, *believed):
        try:
            facts = file.stat()
        except OSError:
            continue  # the code that needs it reports it
        if (what, file) in secrets and (cure := _cure_of(file, facts)):
            yield f"others may read or replace {what} in {file}: {cure}"
        elif (what, file) not in secrets and _others_write(facts):
            yield f"others may write {what} in {file}: {_keep_others_out(file)}"
        elif folder := hostile(file):
            yield f"others may replace {what} in {file}: {folder}"


def _is_still(file: Path, facts: os.stat_result) -> bool:
    """Whether the way that was judged leads to what was read."""
    try:
        return os.path.samestat(file.stat(), facts)
    except OSError:
        return False


def _others_write(facts: os.stat_result) -> bool:
    return bool(facts.st_mode & _OTHERS_WRITE) or facts.st_uid not in (0, os.geteuid())


def _keep_others_out(file: Path) -> str:
    return f"`chmod go-w {shlex.quote(str(file))}` if it is yours"


def _cure_of(file: Path, facts: os.stat_result) -> str:
    """What ends that others may read or write it; empty if they may not.

    One of root's is often meant to be read by its group, as the keys of `ssl-cert` are: with mode
    600 we could not read it, either.
    """
    exposed, here = facts.st_mode & (_OTHERS_READ | _OTHERS_WRITE), shlex.quote(str(file))
    if facts.st_uid not in (0, os.geteuid()):
        return f"it is another user's (uid {facts.st_uid}): `chown` it"
    if facts.st_uid != os.geteuid():
        return f"`chmod g-w,o= {here}`" if exposed & ~stat.S_IRGRP else ""
    meant = ", unless its group is meant to read it" if exposed == stat.S_IRGRP else ""
    return f"`chmod 600 {here}`{meant}" if exposed else ""


def _secret_files(settings: Settings) -> Iterator[tuple[str, Path]]:
    own = settings.fireworks
    elsewhere = own.api_key or own.api_key_command
    if file := own.api_key_file or (None if elsewhere else settings.auth_ini):
        yield "the API key", file
    if settings.api.tls_key_file:
        yield "the TLS key", settings.api.tls_key_file
    for hook in settings.hooks:
        yield from ((f"the secret of hook {hook.name}", file) for file in hook.secret_file)


def _believed_files(settings: Settings) -> Iterator[tuple[str, Path]]:
    """Those that only have to be ours; who may read the secret is judged where it is used."""
    if settings.database_secret_file:
        yield "the secret of the job table", settings.database_secret_file
    if settings.fireworks.ca_bundle:
        yield "the CA bundle", settings.fireworks.ca_bundle


def _programs(settings: Settings) -> Iterator[tuple[str, Path]]:
    """What is run as this user, if it can be found at all.

    Not what arguments name: any of those may be on a disk that does not answer.
    """
    for what, command in _commands(settings):
        if program := shutil.which(command[0]):
            yield what, Path(program).absolute()


def _commands(settings: Settings) -> Iterator[tuple[str, tuple[str, ...]]]:
    commands = {f"the command of hook {hook.name}": hook.command for hook in settings.hooks}
    with suppress(ValueError):  # whoever runs it says what is wrong with it
        commands["the key command"] = (*shlex.split(settings.fireworks.api_key_command or ""),)
    yield from ((what, command) for what, command in commands.items() if command)
