"""Where the API key comes from. It is never printed.

See docs/configuration.md §5, docs/fireworks.md §7.
"""

from __future__ import annotations

import hashlib
import shlex
import subprocess
from collections.abc import Callable
from configparser import Error as ConfigParserError
from configparser import RawConfigParser
from dataclasses import dataclass, field
from pathlib import Path

from uploader import files, processes
from uploader.core.api_key import flaw_of_api_key
from uploader.core.errors import RemoteError, UploaderError
from uploader.core.reasons import Code
from uploader.core.redact import ApiKey, remember
from uploader.core.verdict import Call, Verdict
from uploader.deadlines import LastResort
from uploader.runtime import StopToken, SystemClock

_COMMAND_S = 30.0
_CLOCK = SystemClock()
_SECTIONS = ("default", "fireworks")
#: How much is read of a key file, of auth.ini, and of a command's output.
_MAX_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class ApiKeySource:
    """The first of: environment, file, command, ``auth_ini``.

    ``env_key`` is what the environment held at the start; the others are read at every
    `read`, so a changed key is noticed. A source that is named but gives no key is an
    error, never skipped in favour of the next.
    """

    env_key: str | None = field(repr=False)
    file: Path | None
    command: str | None
    auth_ini: Path | None

    @property
    def origin(self) -> str:
        """Where `read` looks: FIREWORKS_API_KEY, a file, or the command; empty if nowhere."""
        if self.env_key:
            return "FIREWORKS_API_KEY"
        if self.file is not None:
            return f"the key file {self.file}"
        if self.command:
            return "the key command"
        return str(self._ini() or "")

    @property
    def path(self) -> Path | None:
        """The file whose disk `read` waits for; None if it waits for none."""
        if self.env_key or (self.file is None and self.command):
            return None
        return self.file or self.auth_ini

    def _ini(self) -> Path | None:
        return self.auth_ini if self.auth_ini and self.auth_ini.is_file() else None

    def read(self) -> ApiKey:
        """The current key. Raises RemoteError (BLOCKED, `no_key`); may take 30 s."""
        with LastResort():
            return self._read()

    def _read(self) -> ApiKey:
        if self.env_key:
            return _key(self.env_key, self.origin)
        if self.file is not None:
            return _key(_text(self.file), self.origin)
        if self.command:
            return _key(_output(self.command), self.origin)
        ini = self._ini()
        found = _ini_key(_text(ini)) if ini else ""
        if not found:
            raise _no_key("no Fireworks API key was found")
        return _key(found, self.origin)

    def reader(self, stop: StopToken) -> Callable[[], ApiKey]:
        """`read`, for threads with that token: it shows if they wait for a disk in vain."""
        if self.path is None:  # a command may take long, but no longer than its time
            return self.read

        def read() -> ApiKey:
            with stop.key_disk:
                return self.read()

        return read

    def fingerprint(self) -> str | None:
        """SHA-256 of the key in hex, to notice a change; None if there is no key."""
        try:
            key = self.read()
        except UploaderError:
            return None
        return hashlib.sha256(key.reveal().encode("ascii")).hexdigest()


def _no_key(message: str) -> RemoteError:
    return RemoteError(Verdict.BLOCKED, Call.VERIFY, message, code=Code.NO_KEY)


def _key(text: str, source: str) -> ApiKey:
    key = text.strip()  # a file usually ends in a line end
    if flaw := flaw_of_api_key(key):
        raise _no_key(f"the API key from {source} {flaw}")
    found = ApiKey(key)
    remember(found)
    return found


def _text(path: Path) -> str:
    try:
        return files.read(path, _MAX_BYTES, pipe=True)[0].decode("utf-8-sig")
    except OSError as error:
        why = error.strerror or type(error).__name__
    except ValueError:
        why = "it is not text"
    raise _no_key(f"{path} cannot be read: {why}")


def _output(command: str) -> str:
    """What the command prints. Neither the command nor its output is ever repeated."""
    try:
        return _run(shlex.split(command)).decode("utf-8")
    except subprocess.CalledProcessError as error:
        why = f"exit code {error.returncode}"
    except TimeoutError:
        why = f"no answer within {_COMMAND_S:.0f} s"
    except (OSError, ValueError, IndexError) as error:
        why = type(error).__name__
    raise _no_key(f"the key command failed: {why}")


def _run(command: list[str]) -> bytes:
    """What ``command`` prints, in bounded time and memory.

    It is read until the output is closed: what the command leaves running may keep it open. Raises
    OSError, CalledProcessError, and ValueError for more than any key.
    """
    ends_s = _CLOCK.boot_s() + _COMMAND_S
    process = subprocess.Popen(  # noqa: S603 - the user's own command, without a shell
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        printed = files.read_to_end(process.stdout.fileno(), _MAX_BYTES, ends_s)  # type: ignore[union-attr]
        if len(printed) == _MAX_BYTES:  # no key is that long
            raise ValueError
        code = process.wait(max(0.0, ends_s - _CLOCK.boot_s()))
    except subprocess.TimeoutExpired:
        raise TimeoutError from None
    finally:
        processes.end(process)
    if code:
        raise subprocess.CalledProcessError(code, "")
    return printed


def _ini_key(text: str) -> str:
    """``api_key`` of an ini file, outside sections or in [fireworks] or [DEFAULT]."""
    parser = RawConfigParser(
        strict=False,
        allow_no_value=True,
        inline_comment_prefixes=("#", ";"),
        default_section="",
        empty_lines_in_values=False,
    )
    # Without blanks before it no line goes on with the one above, which may have no value.
    lines = "\n".join(line.strip() for line in text.splitlines())
    try:
        parser.read_string(f"[default]\n{lines}")
    except ConfigParserError:
        return ""
    named = [name for name in parser.sections() if name.strip().lower() in _SECTIONS]
    found = (parser.get(name, "api_key", fallback="") or "" for name in named)
    return _unquoted(next(filter(None, found), ""))


def _unquoted(value: str) -> str:
    quoted = value[:1] in ("'", '"') and value[-1:] == value[:1]
    return value[1:-1] if quoted and len(value) > 1 else value
