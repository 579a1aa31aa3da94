"""Where the API key comes from (design §6, contract fireworks §7). It is never printed."""

from __future__ import annotations

import hashlib
import re
import shlex
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from uploader.core.errors import RemoteError, UploaderError
from uploader.core.reasons import Code
from uploader.core.redact import ApiKey
from uploader.core.verdict import Call, Verdict

_COMMAND_S = 30.0
_KEY = re.compile(r"[\x21-\x7e]+")
_SECTION = re.compile(r"\[\s*(?P<name>[^\]]*?)\s*\]")
_SETTING = re.compile(r"(?P<name>[A-Za-z_]+)\s*[=:]\s*(?P<value>.*)")
_QUOTED = re.compile(r"(?P<quote>[\"'])(?P<value>.*?)(?P=quote)\s*(?:[#;].*)?")
_COMMENT = re.compile(r"(?:^|\s)[#;].*")


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
    auth_ini: Path

    def read(self) -> ApiKey:
        """The key as it is now. Raises RemoteError (BLOCKED, `no_key`); may wait 30 s."""
        if self.env_key:
            return _key(self.env_key, "FIREWORKS_API_KEY")
        if self.file is not None:
            return _key(_text(self.file), f"the key file {self.file}")
        if self.command:
            return _key(_output(self.command), "the key command")
        found = _ini_key(_text(self.auth_ini)) if self.auth_ini.is_file() else ""
        if not found:
            raise _no_key("no Fireworks API key was found")
        return _key(found, str(self.auth_ini))

    def fingerprint(self) -> str | None:
        """SHA-256 of the key in hex, to notice a change; None where there is no key."""
        try:
            key = self.read()
        except UploaderError:
            return None
        return hashlib.sha256(key.reveal().encode("ascii")).hexdigest()


def _no_key(message: str) -> RemoteError:
    return RemoteError(Verdict.BLOCKED, Call.VERIFY, message, code=Code.NO_KEY)


def _key(text: str, source: str) -> ApiKey:
    key = text.strip()
    if not key:
        raise _no_key(f"{source} holds no API key")
    if not _KEY.fullmatch(key):
        raise _no_key(f"the API key from {source} has blanks, control or non-ASCII characters")
    return ApiKey(key)


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except (OSError, ValueError) as error:
        why = type(error).__name__
    raise _no_key(f"{path} cannot be read: {why}")


def _output(command: str) -> str:
    """What the command prints. Neither its words nor its output are ever repeated."""
    try:
        done = subprocess.run(  # noqa: S603 - the user's own command, without a shell
            shlex.split(command),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_COMMAND_S,
            check=True,
        )
        return done.stdout.decode("utf-8")
    except subprocess.CalledProcessError as error:
        why = f"exit code {error.returncode}"
    except subprocess.TimeoutExpired:
        why = f"no answer within {_COMMAND_S:.0f} s"
    except (OSError, ValueError, IndexError) as error:
        why = type(error).__name__
    raise _no_key(f"the key command failed: {why}")


def _ini_key(text: str) -> str:
    """``api_key`` of an ini file, outside sections or in [fireworks] or [DEFAULT]."""
    section = "default"
    for line in map(str.strip, text.splitlines()):
        if header := _SECTION.match(line):
            section = header["name"].lower()
        setting = _SETTING.match(line)
        if setting and setting["name"].lower() == "api_key" and section in _SECTIONS:
            return _value(setting["value"])
    return ""


_SECTIONS = ("default", "fireworks")


def _value(text: str) -> str:
    quoted = _QUOTED.fullmatch(text.strip())
    return quoted["value"] if quoted else _COMMENT.sub("", text).strip()
