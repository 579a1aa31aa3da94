"""The section of the HTTP API: where it listens, and for whom."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator

from uploader.core.text import flaw_of_path
from uploader.settings.section import OptionalPath, Section

OFF = "off"
_MAX_PORT = 65535


def host_and_port(text: str) -> tuple[str, int]:
    """(host, port) of HOST:PORT or [IPv6]:PORT; port 0 takes a free one. Raises ValueError."""
    host, _, port = text.strip().rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""
    if not host or not (port.isascii() and port.isdecimal()) or int(port[:6]) > _MAX_PORT:
        raise ValueError("write HOST:PORT, such as 127.0.0.1:8642, or off")
    return host, int(port)


def _listen(value: object) -> str:
    text = str(value).strip().lower() if isinstance(value, str) else OFF if value is False else ""
    if text != OFF:
        host_and_port(text)
    return text


def _names(value: object) -> object:
    """A variable holds several, with the separator of PATH."""
    return [one for one in value.split(os.pathsep) if one] if isinstance(value, str) else value


def _root(path: Path) -> Path:
    expanded = Path(os.path.expanduser(path))  # noqa: PTH111 - Path's raises without a home
    if flaw := flaw_of_path(str(expanded)):
        raise ValueError(f"it {flaw}")
    if not expanded.is_absolute():
        raise ValueError("write whole paths: a daemon has no current folder of yours")
    return expanded


class Api(Section):
    """The HTTP API. `roots` are the only folders it may enqueue; `hosts` are further names."""

    listen: Annotated[str, BeforeValidator(_listen)] = "127.0.0.1:8642"
    roots: Annotated[
        tuple[Annotated[Path, AfterValidator(_root)], ...], BeforeValidator(_names)
    ] = ()
    hosts: Annotated[tuple[str, ...], BeforeValidator(_names)] = ()
    allow_remote: bool = False
    tls_cert_file: OptionalPath = None
    tls_key_file: OptionalPath = None
    behind_proxy: bool = False

    @property
    def off(self) -> bool:
        """Does it listen nowhere?"""
        return self.listen == OFF

    @property
    def address(self) -> tuple[str, int]:
        """(host, port) of `listen`, unless it is off."""
        return host_and_port(self.listen)
