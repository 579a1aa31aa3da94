"""Preflight beside a bare loop of `safetensors.safe_open` over the same files.

    python bench/preflight.py [SHARDS [TENSORS]]

Makes a sparse model (200 shards of 1000 tensors: 400 GB that take 20 MB of disk), then runs
`uploader preflight` and the loop in turn, each in a process of its own, five times. CPU seconds
(user and system) and peak memory are the whole process's, interpreter and imports included; the
medians and their ratio are what counts.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROUNDS = 5
SIDE = 1024
SPAN_BYTES = SIDE * SIDE * 2
LOOP = """
import sys
from pathlib import Path
from safetensors import safe_open
for path in sorted(Path(sys.argv[1]).glob("*.safetensors")):
    with safe_open(path, framework="np") as file:
        file.keys()
"""


def write_model(root: Path, shards: int, tensors: int) -> None:
    """A mixture of experts: ``tensors`` in each of ``shards`` files, and their index."""
    weight_map: dict[str, str] = {}
    for number in range(shards):
        name = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        header = {
            f"model.layers.{number}.mlp.experts.{expert}.down_proj.weight": {
                "dtype": "BF16",
                "shape": [SIDE, SIDE],
                "data_offsets": [expert * SPAN_BYTES, (expert + 1) * SPAN_BYTES],
            }
            for expert in range(tensors)
        }
        raw = json.dumps(header).encode()
        with (root / name).open("wb") as file:
            file.write(len(raw).to_bytes(8, "little") + raw)
            file.truncate(8 + len(raw) + tensors * SPAN_BYTES)
        weight_map |= dict.fromkeys(header, name)
    index = {"metadata": {"total_size": shards * tensors * SPAN_BYTES}, "weight_map": weight_map}
    (root / "model.safetensors.index.json").write_text(json.dumps(index))
    config = {"architectures": ["DeepseekV3ForCausalLM"], "num_hidden_layers": shards}
    (root / "config.json").write_text(json.dumps(config))
    (root / "tokenizer.json").write_text("{}")
    (root / "tokenizer_config.json").write_text('{"chat_template": "{{ messages }}"}')


def measured(*command: str) -> tuple[float, float]:
    """CPU seconds and peak MB of ``command``, which must succeed."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command} ended with {os.waitstatus_to_exitcode(status)}")
    per_mb = 1024 if sys.platform == "linux" else 1024 * 1024
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / per_mb


def main(shards: int = 200, tensors: int = 1000) -> None:
    """Print the CPU seconds and the peak MB of a preflight, next to those of a plain loop."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "model"
        root.mkdir()
        write_model(root, shards, tensors)
        ours, loop = [], []
        for _ in range(ROUNDS):
            ours.append(measured(sys.executable, "-m", "uploader", "preflight", str(root)))
            loop.append(measured(sys.executable, "-c", LOOP, str(root)))
    print(f"{shards} shards of {tensors} tensors, medians of {ROUNDS}:")
    for name, runs in (("uploader preflight", ours), ("safe_open loop", loop)):
        cpu_s, peak_mb = (statistics.median(column) for column in zip(*runs, strict=True))
        print(f"  {name:<20} {cpu_s:6.2f} s of CPU {peak_mb:6.0f} MB at most")
    ratio = statistics.median(our[0] / its[0] for our, its in zip(ours, loop, strict=True))
    print(f"  ratio of CPU         {ratio:6.2f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
