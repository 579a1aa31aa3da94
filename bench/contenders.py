"""Who is compared, and how each is started: as its own documentation says, with its defaults."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.measure import DEADLINE_S, ROOT, Failed, SinkAt

#: The vendor's page is not part of this repository; its script is left out unless this names it.
PAGE = Path(os.environ.get("BENCH_PAGE", ""))
_STREAMS = 4
#: Where a traced run leaves its calls, below its scratch folder.
TRACE = "trace"


@dataclass(frozen=True)
class Task:
    """A folder to send, where to, and an empty folder for whatever the contender needs."""

    folder: Path
    sink: SinkAt
    scratch: Path

    @property
    def variables(self) -> dict[str, str]:
        """The environment that all contenders get."""
        found = {
            "FIREWORKS_API_KEY": "fw_bench",
            "FIREWORKS_BASE_URL": self.sink.url,
            "FIREWORKS_ACCOUNT_ID": "sink",
            "UPLOADER_STATE_DIR": str(self.scratch / "state"),
            "UPLOADER_API__LISTEN": "off",
            "XDG_CONFIG_HOME": str(self.scratch),
            "NO_PROXY": "127.0.0.1",
            "RCLONE_CONFIG": str(self.scratch / "rclone.conf"),
            "RCLONE_CONFIG_SINK_TYPE": "google cloud storage",
            "RCLONE_CONFIG_SINK_ANONYMOUS": "true",
            "RCLONE_CONFIG_SINK_ENDPOINT": f"{self.sink.url}/storage/v1/",
        }
        if self.sink.ca_file:
            names = ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "CURL_CA_BUNDLE")
            found |= dict.fromkeys(names, str(self.sink.ca_file))
        return found


@dataclass(frozen=True)
class Contender:
    """A name, the command that sends a task's folder, and what is not there if it cannot run."""

    name: str
    command: Callable[[Task], Sequence[str]]
    missing: Callable[[], str] = str


def _run(task: Task) -> Sequence[str]:
    program = [sys.executable, "-m", "uploader"]
    try:
        subprocess.run(
            [*program, "enqueue", str(task.folder)],
            cwd=ROOT,
            env={**os.environ, **task.variables},
            capture_output=True,
            text=True,
            check=True,
            timeout=DEADLINE_S,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as problem:
        raise Failed(f"enqueue: {problem}: {problem.stderr!r}") from None
    return [*program, "run", "--until-idle"]


def _run_plain(task: Task) -> Sequence[str]:
    """As `_run`, with no SHA-256 of what is sent."""
    return ["env", "UPLOADER_INTEGRITY__SHA256=off", *_run(task)]


def _run_traced(task: Task) -> Sequence[str]:
    """As `_run`, with each call that waits for the disk in a file: for its number, not its time."""
    trace = ("--seccomp-bpf", "-f", "-qq", "-e", "trace=fsync,fdatasync", "-o")
    return ["strace", *trace, str(task.scratch / TRACE), *_run(task)]


def _upload(task: Task) -> Sequence[str]:
    return [sys.executable, "-m", "uploader", "upload", str(task.folder)]


def _curl(task: Task) -> Sequence[str]:
    """Sessions are made before: curl only sends. One process per large file, at most four.

    Small files all go through one process that keeps its connections (`--parallel`).
    """
    sizes = {path.name: path.stat().st_size for path in task.folder.iterdir()}
    model = "/v1/accounts/sink/models"
    task.sink.ask(model, "POST", {"modelId": "curl"})
    asked = {"filenameToSize": sizes, "enableResumableUpload": True}
    urls = task.sink.ask(f"{model}/curl:getUploadEndpoint", "POST", asked)["filenameToSignedUrls"]
    large = [name for name in sizes if sizes[name] > 1 << 20]
    shares: list[list[str]] = [[] for _ in range(min(_STREAMS, max(1, len(large))))]
    for number, name in enumerate(sorted(sizes, key=sizes.__getitem__, reverse=True)):
        shares[number % len(shares)].append(name)
    lines = []
    for number, share in enumerate(shares):
        config = task.scratch / f"curl-{number}"
        config.write_text("".join(_entry(task, name, urls[name]) for name in share))
        many = "--parallel " if len(share) > 2 * _STREAMS else ""
        lines.append(f"curl {many}--silent --show-error --fail --config {config} &")
    return ["sh", "-c", "\n".join([*lines, "wait"])]


def _entry(task: Task, name: str, url: str) -> str:
    session = task.sink.ask(url, "POST", {})["headers"]["location"]
    return f'upload-file = "{task.folder / name}"\nurl = "{session}"\noutput = "/dev/null"\n'


def _vendor(task: Task) -> Sequence[str]:
    found = re.search(r"```python[^\n]*\n(.*?)```", PAGE.read_text(), re.DOTALL)
    if not found:
        raise Failed("the vendor's page has no script")
    script = found[1]
    constants = {
        "ACCOUNT_ID": "sink",
        "MODEL_ID": "vendor",
        "MODEL_PATH": str(task.folder),
        "BASE_URL": f"{task.sink.url}/v1",
    }
    for constant, value in constants.items():
        script = re.sub(rf'(?m)^{constant} = "[^"]*"', f'{constant} = "{value}"', script)
    path = task.scratch / "vendor.py"
    path.write_text(script)
    return [sys.executable, str(path)]


def _peer(module: str, argument: str) -> Callable[[Task], Sequence[str]]:
    def command(task: Task) -> Sequence[str]:
        program = [sys.executable, "-m", f"bench.peers.{module}"]
        return [*program, str(task.folder), task.sink.url, argument]

    return command


def _rclone(task: Task) -> Sequence[str]:
    flags = ("--no-traverse", "--no-check-dest", "--ignore-checksum", "--gcs-no-check-bucket")
    return ["rclone", "copy", *flags, str(task.folder), "sink:bucket"]


def _without_page() -> str:
    return "" if PAGE.is_file() else "the vendor's page (BENCH_PAGE)"


def _without_program(name: str) -> Callable[[], str]:
    return lambda: "" if shutil.which(name) else f"the program {name}"


def _without_cloud_storage() -> str:
    try:
        found = importlib.util.find_spec("google.cloud.storage")
    except ModuleNotFoundError:
        found = None
    return "" if found else "the package google-cloud-storage"


RUN, UPLOAD, CURL, VENDOR = "uploader run", "uploader upload", "curl", "vendor's script"
RUN_PLAIN, RUN_TRACED = "uploader run, no SHA-256", "uploader run, traced"
MEDIA_8, MEDIA_100 = "resumable-media 8 MiB", "resumable-media 100 MiB"
CLOUD, CLOUD_MANY, RCLONE = "cloud-storage", "cloud-storage transfer_manager", "rclone"
CONTENDERS = {
    contender.name: contender
    for contender in (
        Contender(RUN, _run),
        Contender(RUN_PLAIN, _run_plain),
        Contender(RUN_TRACED, _run_traced, _without_program("strace")),
        Contender(UPLOAD, _upload),
        Contender(CURL, _curl, _without_program("curl")),
        Contender(VENDOR, _vendor, _without_page),
        Contender(MEDIA_8, _peer("resumable_media", "8")),
        Contender(MEDIA_100, _peer("resumable_media", "100")),
        Contender(CLOUD, _peer("cloud_storage", "1"), _without_cloud_storage),
        Contender(CLOUD_MANY, _peer("cloud_storage", str(_STREAMS)), _without_cloud_storage),
        Contender(RCLONE, _rclone, _without_program("rclone")),
    )
}
