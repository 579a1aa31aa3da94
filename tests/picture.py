"""Draws docs/upload.svg, the picture in the README: `make picture`.

It shows what a terminal showed: `uploader upload` to a sandbox, killed in the middle, and the same
line again, which goes on where the first one was. Nothing in it is written by hand.
"""

from __future__ import annotations

import io
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Callable, Mapping
from fcntl import ioctl
from pathlib import Path

from rich.console import Console
from rich.text import Text

from uploader.demo import make_model
from uploader.sandbox.server import Sandbox

PICTURE = Path(__file__).parents[1] / "docs" / "upload.svg"
COLUMNS = 104
#: The share of all bytes after which the upload is killed.
_LOOK_S = 0.05
KILL_AT = 0.6
BANDWIDTH = "40MiB/s"
#: As much smaller than the default as the model is smaller than those that take hours.
CHUNK_SIZE = "4MiB"
_CONTROL = re.compile(r"\x1b\[[?\d;]*[A-HJ-lA-Za-z]|\r|\n")
_FORMAT = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" \
role="img" aria-label="An upload is killed and goes on">
<style>
text {{ font-family: ui-monospace, Menlo, Consolas, monospace; font-size: {char_height}px; }}
{styles}
</style>
<defs>{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})">
{backgrounds}
<g>{matrix}</g>
</g>
</svg>
"""


class Screen:
    """What a terminal shows: only of what rich and uploader write to one."""

    def __init__(self) -> None:
        self._lines = [""]
        self._row = 0

    def write(self, text: str) -> None:
        """Take what a process wrote."""
        begin = 0
        for control in _CONTROL.finditer(text):
            self._lines[self._row] += text[begin : control.start()]
            begin = control.end()
            self._obey(control.group())
        self._lines[self._row] += text[begin:]

    def _obey(self, control: str) -> None:
        if control == "\n":
            self._row += 1
            self._lines += [""] * (self._row == len(self._lines))
        elif control.endswith("K"):
            self._lines[self._row] = ""
        elif control.endswith("A"):
            self._row -= int(control[2:-1] or 1)
        elif control.endswith("m"):
            self._lines[self._row] += control

    @property
    def text(self) -> Text:
        """Its lines, in their colours."""
        return Text.from_ansi("\n".join(self._lines).rstrip())


def main() -> None:
    """Run it, and draw what was seen."""
    with tempfile.TemporaryDirectory() as name, Sandbox() as box:
        folder, screen = Path(name), Screen()
        total = make_model(folder / "my-model")
        environment = _environment(box, folder)

        def show(line: str, kill: Callable[[], bool] = lambda: False) -> None:
            screen.write(f"\x1b[1m$ {line}\x1b[0m\n")
            _run(line, environment, folder, screen, kill)

        show("uploader upload my-model", lambda: _received(box) > KILL_AT * total)
        screen.write("\nKilled\n\n")
        show("uploader upload my-model")
        screen.write("\n")
        show("uploader logs 1 | grep session_resumed | cut -d: -f4-")
    PICTURE.write_text(draw(screen.text))


def _received(box: Sandbox) -> int:
    return sum(entry["body_bytes_read"] for entry in box.report()["objects"].values())


def _environment(box: Sandbox, folder: Path) -> dict[str, str]:
    foreign = ("UPLOADER_", "FIREWORKS_")
    return {
        **{name: v for name, v in os.environ.items() if not name.startswith(foreign)},
        "HOME": str(folder),
        "TERM": "xterm-256color",
        "XDG_CONFIG_HOME": str(folder / "config"),
        "UPLOADER_STATE_DIR": str(folder / "state"),
        "UPLOADER_TRANSFER__BANDWIDTH_LIMIT": BANDWIDTH,
        "UPLOADER_TRANSFER__CHUNK_SIZE": CHUNK_SIZE,
        "UPLOADER_VALIDATION__POLL_INTERVAL": "1s",
        "FIREWORKS_BASE_URL": box.base_url,
        "FIREWORKS_API_KEY": box.api_key,
        "FIREWORKS_ACCOUNT_ID": box.account_id,
    }


def _run(
    line: str,
    environment: Mapping[str, str],
    folder: Path,
    screen: Screen,
    kill: Callable[[], bool],
) -> None:
    """A command line on a terminal of its own, until it ends; SIGKILL once ``kill``."""
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, COLUMNS, 0, 0))
    command = ["/bin/sh", "-c", f'uploader() {{ {sys.executable} -m uploader "$@"; }}; {line}']
    with subprocess.Popen(
        command,
        env=environment,
        cwd=folder,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        while written := _read(ours, process, kill):
            screen.write(written)
    os.close(ours)


def _read(terminal: int, process: subprocess.Popen[bytes], kill: Callable[[], bool]) -> str:
    """What is written next. Whether it is time to kill does not wait for it."""
    while not select.select([terminal], [], [], _LOOK_S)[0]:
        if process.poll() is None and kill():
            os.killpg(process.pid, signal.SIGKILL)
    try:
        return os.read(terminal, 1 << 16).decode(errors="replace")
    except OSError:  # how Linux says that nobody has the other end any more
        return ""


def draw(text: Text) -> str:
    """The text as an SVG that needs no font and no address."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO())
    console.print(text, "", sep="\n", soft_wrap=True)  # rich clips the last line
    return console.export_svg(title="", code_format=_FORMAT, unique_id="upload")


if __name__ == "__main__":
    main()
