"""`uploader demo`: kills an upload with SIGKILL and shows it resume and end in READY.

It runs `python -m uploader` as real processes against a sandbox in this one, as a user and a
supervisor would, and only believes what the sandbox counted. It leaves nothing behind unless it is
asked to keep what it made.
"""

from __future__ import annotations

import filecmp
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Any

from uploader.sandbox.server import Sandbox, exports, write_private

MIB = 1 << 20
GRANULE = 256 * 1024
SHARDS = 4
SHARD_BYTES = 48 * MIB
BANDWIDTH = "48MiB/s"
#: Slow enough to be watched on the page, and how long there is to open it.
PAGE_BANDWIDTH, PAGE_PACE_S = "8MiB/s", 15.0
#: The share of all bytes after which it kills: in the middle of the shards.
KILL_AT = 0.4
PATIENCE_S = 60.0
#: `-P`: no module is taken from the folder that the demo happens to be started in.
_UPLOADER = (sys.executable, "-P", "-m", "uploader")

_BANDWIDTH_KEY = "UPLOADER_TRANSFER__BANDWIDTH_LIMIT"

_Report = dict[str, Any]


class DemoFailed(Exception):
    """The demo did not see what it promises."""


def main(*, keep: bool = False, page: bool = False, pace_s: float = 0.0) -> int:
    """Run the demo; 0 if every promise was kept, else 1.

    `pace_s`: how many seconds to pause before the upload, after the kill and at the end, to look
    around from another terminal. `keep`: leave the sandbox running until SIGINT or SIGTERM, and
    keep the folder. `page`: serve the page, more slowly, until SIGINT or SIGTERM.
    """
    if page and not pace_s:
        pace_s = PAGE_PACE_S
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, _leave)
    scratch = Path(tempfile.mkdtemp(prefix="uploader-demo-"))
    try:
        _demo(scratch, keep=keep, page=page, pace_s=pace_s)
    except DemoFailed as failure:
        print(f"error: {failure}", file=sys.stderr)
        return 1
    finally:
        if keep:
            _say(f"Kept: {scratch}")
        else:
            shutil.rmtree(scratch)
    return 0


def _leave(number: int, frame: FrameType | None) -> None:
    """Clean up even if the terminal is closed."""
    del frame
    sys.exit(128 + number)


def _demo(scratch: Path, *, keep: bool, page: bool, pace_s: float) -> None:
    started = time.monotonic()
    model, objects = scratch / "tiny-llama", scratch / "objects"
    _say("An upload is killed in the middle and resumes by itself.\n")
    total = make_model(model)
    _say(f"1. a model folder: {SHARDS} shards, config, index, tokenizer; {_mib(total)}")
    with Sandbox(data_dir=objects, keep=keep) as box:
        _say("2. a sandbox on loopback stands in for Fireworks and its storage")
        command = _command(box, scratch)
        if page:
            command.environment[_BANDWIDTH_KEY] = PAGE_BANDWIDTH
        job = command("enqueue", str(model)).strip()
        _say(f"3. uploader enqueue {model.name}  ->  job {job}, nothing sent yet")
        env = _write_env(scratch, command.environment)
        with _page(command) if page else nullcontext():
            _stop(pace_s, env)
            killed = _run_and_kill(command.environment, box, total)
            _stop(pace_s, env)
            resumed = _run_to_the_end(command, box, total)
            _compare(model, objects / box.account_id / model.name)
            _summary(box.report(), killed, resumed, total, time.monotonic() - started)
            _stop(pace_s, env)
            if keep or page:
                _wait_for_signal(env)


# -- a look from another terminal --------------------------------------------------------------


def _write_env(scratch: Path, environment: Mapping[str, str]) -> Path:
    """A file for another shell, to see the same jobs and the same sandbox."""
    ours = ("UPLOADER_", "FIREWORKS_", "XDG_CONFIG_HOME", "NO_PROXY")
    variables = {name: value for name, value in environment.items() if name.startswith(ours)}
    path = scratch / "env"
    write_private(path, exports(variables))
    return path


def _stop(pace_s: float, env: Path) -> None:
    if pace_s:
        _say(f"   {pace_s:g} s to look around from another terminal: . {env}; uploader status")
        time.sleep(pace_s)


def _wait_for_signal(env: Path) -> None:
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    _say(f"\nThe sandbox goes on until Ctrl-C. In another terminal: . {env}")
    ended.wait()


# -- the model -------------------------------------------------------------------------------


def make_model(folder: Path) -> int:
    """A small but valid Hugging Face folder with random weights; its size in bytes."""
    folder.mkdir()
    rows = SHARD_BYTES // (2 * 1024)
    weights = {}
    for number in range(1, SHARDS + 1):
        name, tensor = _shard_name(number), f"model.layers.{number - 1}.mlp.up_proj.weight"
        weights[tensor] = name
        _write_shard(folder / name, tensor, rows)
    index = {"metadata": {"total_size": SHARDS * SHARD_BYTES}, "weight_map": weights}
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 1024}
    tokenizer = {"version": "1.0", "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}
    documents = {
        "model.safetensors.index.json": index,
        "config.json": {**config, "num_hidden_layers": SHARDS, "torch_dtype": "bfloat16"},
        "tokenizer.json": tokenizer,
        "tokenizer_config.json": {"tokenizer_class": "LlamaTokenizer", "chat_template": "{{ m }}"},
    }
    for name, document in documents.items():
        (folder / name).write_text(json.dumps(document, indent=2))
    return sum(path.stat().st_size for path in folder.iterdir())


def _shard_name(number: int) -> str:
    return f"model-{number:05}-of-{SHARDS:05}.safetensors"


def _write_shard(path: Path, tensor: str, rows: int) -> None:
    entry = {"dtype": "BF16", "shape": [rows, 1024], "data_offsets": [0, SHARD_BYTES]}
    header = json.dumps({tensor: entry}).encode()
    header += b" " * (-len(header) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        for _ in range(SHARD_BYTES // MIB):
            file.write(os.urandom(MIB))


# -- the processes ---------------------------------------------------------------------------


class _Command:
    """Runs `uploader WORDS…` to its end and gives its standard output."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment

    def __call__(self, *words: str) -> str:
        done = subprocess.run(
            [*_UPLOADER, *words],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        if done.returncode:
            raise DemoFailed(f"uploader {words[0]} ended with {done.returncode}: {done.stderr}")
        return done.stdout


def _command(box: Sandbox, scratch: Path) -> _Command:
    """A clean environment, without the user's settings and keys."""
    foreign = ("UPLOADER_", "FIREWORKS_")
    inherited = {name: v for name, v in os.environ.items() if not name.startswith(foreign)}
    return _Command(
        {
            **inherited,
            "PYTHONPATH": os.pathsep.join(_module_paths()),
            "HOME": str(scratch),
            "XDG_CONFIG_HOME": str(scratch / "config"),
            "UPLOADER_STATE_DIR": str(scratch / "state"),
            _BANDWIDTH_KEY: BANDWIDTH,
            "UPLOADER_VALIDATION__POLL_INTERVAL": "1s",
            "FIREWORKS_BASE_URL": box.base_url,
            "FIREWORKS_API_KEY": box.api_key,
            "FIREWORKS_ACCOUNT_ID": box.account_id,
            "NO_PROXY": "127.0.0.1",
        }
    )


def _module_paths() -> Iterator[str]:
    """The path of this program, in case it is not installed, and the user's own."""
    yield str(Path(__file__).parents[1])  # the one above may be /tmp, where anybody puts modules
    if theirs := os.environ.get("PYTHONPATH"):
        yield theirs


@contextmanager
def _worker(environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """`uploader run --until-idle`, killed if the demo ends early."""
    words = [*_UPLOADER, "run", "--until-idle"]
    with (
        _log(environment).open("wb") as log,
        subprocess.Popen(words, env=environment, stderr=log) as process,
    ):
        try:
            yield process
        except DemoFailed as failure:
            last = _log(environment).read_text().splitlines()[-5:]
            raise DemoFailed("\n  ".join((str(failure), "its last output:", *last))) from None
        finally:
            process.kill()


@contextmanager
def _page(command: _Command) -> Iterator[None]:
    """`uploader serve`, which outlives the worker that is killed; says where its page is."""
    words = [*_UPLOADER, "serve", "--listen", "127.0.0.1:0"]
    log, state = _log(command.environment).with_name("serve.log"), "UPLOADER_STATE_DIR"
    address = Path(command.environment[state]) / "api.address"
    with (
        log.open("wb") as stderr,
        subprocess.Popen(words, env=command.environment, stderr=stderr) as process,
    ):
        try:
            _until(lambda: address.exists() or process.poll() is not None, "the page")
            _say(f"   watch it in a browser: {command('dashboard').strip()}")
            yield
        finally:
            process.terminate()


def _log(environment: dict[str, str]) -> Path:
    return Path(environment["HOME"]) / "worker.log"


def _run_and_kill(environment: dict[str, str], box: Sandbox, total: int) -> _Report:
    """Kill the worker in the middle of the shards; returns what the sandbox has then."""
    with _worker(environment) as process:
        _say(f"4. uploader run (process {process.pid}, at most {environment[_BANDWIDTH_KEY]})")
        _follow(process, box, total, lambda: _received(box.report()) > KILL_AT * total)
        process.send_signal(signal.SIGKILL)
        process.wait()
    _until(lambda: not _in_flight_changes(box), "the sandbox to notice the cut")
    report = box.report()
    _say(f"5. kill -9: the process is gone, {_mib(_persisted(report))} are confirmed")
    for name, held, size in _partial(report):
        of = f" of {_mib(size)}" if size else ""
        _say(f"     {Path(name).stem}: {held:,} bytes confirmed{of}")
    return report


def _run_to_the_end(command: _Command, box: Sandbox, total: int) -> list[_Report]:
    """Start again and wait for READY; returns the lines that say where it resumed."""
    with _worker(command.environment) as process:
        _say(f"6. uploader run again (process {process.pid}), as a supervisor would start it")
        _follow(process, box, total, lambda: process.poll() is not None)
        if process.returncode:
            raise DemoFailed(f"uploader run ended with {process.returncode}")
    events = [json.loads(line) for line in command("events").splitlines()]
    resumed = [e for e in events if e["kind"] == "session_resumed"]
    for event in resumed:
        _say(f"     {Path(event['path']).stem}: {event['message'].partition(';')[0]}")
    if set(box.report()["models"].values()) != {"READY"}:
        raise DemoFailed("the model is not READY")
    _say("7. every file stored, each CRC32C compared, validateUpload polled: READY")
    return resumed


def _follow(
    process: subprocess.Popen[bytes], box: Sandbox, total: int, done: Callable[[], bool]
) -> None:
    """Wait until ``done``, with a moving line of progress."""
    deadline = time.monotonic() + PATIENCE_S
    with _moving_line() as show:
        while not done():
            if time.monotonic() > deadline or process.poll() not in (None, 0):
                raise DemoFailed(f"the worker did not get there (exit code {process.poll()})")
            held = min(_received(box.report()), total)
            what = f"{_mib(held)} of {_mib(total)} ({100 * held // total}%)"
            show(what if held < total else "all sent; waiting for READY")
            time.sleep(0.02)


@contextmanager
def _moving_line() -> Iterator[Callable[[str], None]]:
    """Print a line: overwritten on a terminal; elsewhere at most one a second, no repeats."""
    shown_at, last = time.monotonic(), ""

    def show(line: str) -> None:
        nonlocal shown_at, last
        if line == last or not (sys.stdout.isatty() or time.monotonic() - shown_at > 1):
            return
        width, shown_at, last = len(last), time.monotonic(), line
        if sys.stdout.isatty():
            print(f"\r     {line:{width}}", end="", flush=True)
        else:
            _say(f"     {line}")

    try:
        yield show
    finally:
        if sys.stdout.isatty():
            print(f"\r     {'':{len(last)}}\r", end="", flush=True)


# -- what was seen ---------------------------------------------------------------------------


def _received(report: _Report) -> int:
    return sum(entry["body_bytes_read"] for entry in report["objects"].values())


def _persisted(report: _Report) -> int:
    return sum(entry["persisted"] for entry in report["objects"].values())


def _partial(report: _Report) -> list[tuple[str, int, int]]:
    return [
        (key.rsplit("/", 1)[-1], entry["persisted"], entry["size"] or 0)
        for key, entry in report["objects"].items()
        if entry["size"] is None
    ]


def _in_flight_changes(box: Sandbox) -> bool:
    before = box.report()["objects"]
    time.sleep(0.1)
    return bool(before != box.report()["objects"])


def _until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise DemoFailed(f"waited too long for {what}")


def _compare(model: Path, stored: Path) -> None:
    names = sorted(path.name for path in model.iterdir())
    _, different, missing = filecmp.cmpfiles(model, stored, names, shallow=False)
    if different or missing:
        raise DemoFailed(f"not identical: {', '.join(different + missing)}")
    _say(f"8. {len(names)} stored objects compared with the source, byte for byte: identical")


def _summary(
    report: _Report, killed: _Report, resumed: list[_Report], total: int, seconds: float
) -> None:
    again = _received(report) - total
    most = max(1, len(_partial(killed))) * GRANULE
    _say("")
    _say(f"   model            {_mib(total)} in {len(report['objects'])} files")
    _say(f"   killed at        {_mib(_persisted(killed))} confirmed")
    _say(f"   resumed          {len(resumed)} files, each at the byte the server had confirmed")
    _say(f"   sent             {_received(report):,} bytes read by the server")
    _say(f"   sent twice       {again:,} bytes (at most {most:,}: a granule per file in flight)")
    _say(f"   below confirmed  {report['bytes_below_confirmed']} bytes")
    _say(f"   models created   {report['creates']}")
    _say(f"   took             {seconds:.1f} s")
    if again > most or report["bytes_below_confirmed"] or report["creates"] != 1 or not resumed:
        raise DemoFailed("a promise was not kept: see the figures above")


def _mib(count: int) -> str:
    return f"{count / MIB:.1f} MiB"


def _say(line: str) -> None:
    print(line, flush=True)
