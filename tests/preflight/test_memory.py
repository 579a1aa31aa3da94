"""What a folder of another's making may cost: 400 MB at most, whatever is in it.

Of many files with the most that is kept of one, a few more are written than are kept.
"""

from __future__ import annotations

import base64
import random
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.model.build import BASE, INDEX, folder, without

MAX_RSS_MB = 400
MAX_DIRECTORY_BYTES = 16_000_000
LOOK = """
import resource, sys
from pathlib import Path
from uploader.core.job import Kind
from uploader.model.folder import scan
from uploader.preflight.registry import findings
found = findings(scan(Path(sys.argv[1])), Kind(sys.argv[2]))
for finding in found[:20]:
    print(finding.severity, finding.check)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
_KIB_PER_MB = 1024 * (1 if sys.platform == "linux" else 1024)


def look(root: Path, kind: str = "base") -> tuple[set[str], float]:
    """What a preflight of the folder says, and its largest memory in MB.

    Begun by a shell: what this process had at its own peak is counted for those it begins.
    """
    command = ["sh", "-c", '"$@"; exit $?', "sh", sys.executable, "-c", LOOK, str(root), kind]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    *said, peak = done.stdout.splitlines()
    return {*said}, int(peak) / _KIB_PER_MB


def write_shard(path: Path, names: list[str]) -> None:
    """A sparse file of tensors of a byte each, so that its header is all that takes room."""
    with path.open("wb") as file:
        file.write(bytes(8) + b"{")
        entries = (
            f'"{name}":{{"dtype":"U8","shape":[1],"data_offsets":[{number},{number + 1}]}}'
            for number, name in enumerate(names)
        )
        file.write(",".join(entries).encode() + b"}")
        length = file.tell() - 8
        file.seek(0)
        file.write(length.to_bytes(8, "little"))
        file.truncate(8 + length + len(names))


def many_tensors(root: Path) -> None:
    for number in range(60):
        names = [f"model.layers.{number}.mlp.experts.{n}.up_proj.weight" for n in range(10_000)]
        write_shard(root / f"model-{number + 1:05}-of-00060.safetensors", names)


def long_header(root: Path) -> None:
    write_shard(root / "model.safetensors", [f"{n:x}" for n in range(1_490_000)])
    assert (root / "model.safetensors").stat().st_size > 95_000_000


def longest_that_is_read(root: Path) -> None:
    write_shard(root / "model.safetensors", [f"{n:x}" for n in range(245_000)])


def deep(root: Path) -> None:
    (root / "config.json").write_bytes(b'{"a": ' + b"[" * 9_900_000)


def wide(root: Path) -> None:
    """The object that takes the most memory for its bytes, in each file that is read."""
    body = b'{"a": [' + b'{"":0},' * 1_420_000 + b"0]}"
    for name in ("config.json", "tokenizer_config.json"):
        (root / name).write_bytes(body)


def nested(root: Path) -> None:
    """As deep as a parser goes, again and again, in every file that checks read as a whole."""
    body = b'{"a": [' + (b"[" * 900 + b"]" * 900 + b",") * 5490 + b"0]}"
    for name in ("config.json", "generation_config.json", "fireworks.json"):
        (root / name).write_bytes(body)


def many_keys(root: Path) -> None:
    """As many values as are read, each of them with a name of its own."""
    body = b"{" + b",".join(b'"%07x":"%06x"' % (n, n) for n in range(299_000)) + b"}"
    for name in ("config.json", "tokenizer_config.json"):
        (root / name).write_bytes(body)


def many_small_json(root: Path) -> None:
    """Two hundred kilobytes take seven megabytes as objects, under each of a hundred names."""
    unit = '{"":' * 80 + "0" + "}" * 80
    (root / "vocab.json").write_text(f'{{"a":[{",".join([unit] * 490)}]}}')
    read = ("added_tokens", "generation_config", "special_tokens_map", "tekken", "tokenizer")
    for name in (*read, "preprocessor_config", "processor_config", "fireworks"):
        (root / f"{name}.json").unlink(missing_ok=True)
        (root / f"{name}.json").hardlink_to(root / "vocab.json")
    for number in range(90):
        (root / f"tokenizer.model.v{number}.json").hardlink_to(root / "vocab.json")


def long_integers(root: Path) -> None:
    (root / "config.json").write_bytes(b'{"a": [' + b",".join([b"9" * 4299] * 2300) + b"]}")


def metadata_alone(root: Path) -> None:
    """A header without tensors, full of what belongs to none."""
    pairs = b",".join(b'"%x":""' % n for n in range(1_400_000))
    body = b'{"__metadata__":{' + pairs + b"}}"
    (root / "model.safetensors").write_bytes(len(body).to_bytes(8, "little") + body)


def wide_metadata(root: Path) -> None:
    pairs = ",".join(f'"{n:x}\N{GRINNING FACE}":"\N{GRINNING FACE}"' for n in range(600_000))
    body = f'{{"__metadata__":{{{pairs}}}}}'.encode()
    (root / "z.safetensors").write_bytes(len(body).to_bytes(8, "little") + body)


def wide_metadata_and_all_that_is_kept(root: Path) -> None:
    """Each has a bound of its own; what counts is all of them together."""
    names_that_do_not_repeat(root, 3)
    wide_metadata(root)
    nested_values = '{"":' * 600 + "0" + "}" * 600
    values = f'{{"architectures":["LlamaForCausalLM"],"a":[{",".join([nested_values] * 240)}]}}'
    (root / "config.json").write_text(values)


def of_lists(root: Path, unit: str) -> None:
    """A header as long as one that is read, of lists that the library would make objects of."""
    shape = ",".join([unit] * (15_990_000 // (len(unit) + 1)))
    body = f'{{"a":{{"dtype":"U8","data_offsets":[0,0],"shape":[{shape}]}}}}'.encode()
    (root / "x.safetensors").write_bytes(len(body).to_bytes(8, "little") + body)


def nested_header(root: Path) -> None:
    of_lists(root, "[" * 120 + "]" * 120)


def header_of_short_lists(root: Path) -> None:
    of_lists(root, "[0]")


def header_of_numbers(root: Path) -> None:
    of_lists(root, "0")


def linked(root: Path, stem: str, count: int) -> None:
    """So many more names of the first file of ``stem``."""
    for number in range(1, count):
        (root / f"{stem}-{number:02}.safetensors").hardlink_to(root / f"{stem}-00.safetensors")


def names_that_do_not_repeat(root: Path, count: int = 8) -> None:
    """Sixteen megabytes of names that cannot be compressed, in each of many headers."""
    noise = random.Random(2)
    signs = bytes(code for code in range(33, 127) if chr(code) not in '"\\')
    table = (signs * 3)[:256]
    names = [noise.randbytes(20_000).translate(table).decode() for _ in range(790)]
    write_shard(root / "m-00.safetensors", names)
    linked(root, "m", count)


def shapes_that_do_not_repeat(root: Path) -> None:
    entries = (
        f'"{n:x}":{{"dtype":"U8","shape":[0,{n}],"data_offsets":[0,0]}}' for n in range(19_000)
    )
    body = f"{{{','.join(entries)}}}".encode()
    (root / "s-00.safetensors").write_bytes(len(body).to_bytes(8, "little") + body)
    linked(root, "s", 20)


def more_shapes_than_any_model(root: Path) -> None:
    entries = (
        f'"{n:x}":{{"dtype":"U8","shape":[0,{n}],"data_offsets":[0,0]}}' for n in range(235_000)
    )
    body = f"{{{','.join(entries)}}}".encode()
    (root / "model.safetensors").write_bytes(len(body).to_bytes(8, "little") + body)


def the_same_tensors_again(root: Path, count: int = 8) -> None:
    write_shard(root / "d-00.safetensors", [f"{n:x}" for n in range(245_000)])
    linked(root, "d", count)


def layers_without_end(root: Path) -> None:
    """Each tensor in a layer of its own, and as many layers as the config says."""
    (root / "config.json").write_text(
        '{"architectures":["LlamaForCausalLM"],"num_hidden_layers":3000000,"hidden_size":1}'
    )
    for number in range(14):
        start = number * 200_000
        names = [f"model.layers.{n}" for n in range(start, start + 200_000)]
        outer = [] if number else ["model.embed_tokens.weight", "model.norm.weight"]
        write_shard(root / f"l-{number:02}.safetensors", names + outer)


def shards_without_end(root: Path) -> None:
    """Indexes of as many shards as may be, each of one tensor."""
    pairs = ",".join(f'"{n:x}":"{n:05}"' for n in range(10_000))
    for number in range(30):
        (root / f"{number:03}.safetensors.index.json").write_text(f'{{"weight_map":{{{pairs}}}}}')


def index_of_what_is_not_there(root: Path) -> None:
    write_shard(root / "m.safetensors", ["a"])
    pairs = ",".join(f'"{n:x}":"m.safetensors"' for n in range(1_600_000))
    (root / INDEX).write_text(f'{{"weight_map": {{{pairs}}}}}')


def index_of_escapes(root: Path) -> None:
    """Plain text of 40 MB; each name is four times as wide for one character that is escaped."""
    name = "a" * 1500 + "\\ud83d\\ude00"
    pairs = ",".join(f'"{n}.{name}":"m"' for n in range(26_000))
    (root / INDEX).write_text(f'{{"weight_map": {{{pairs}}}}}')


def index_with_a_wide_character_in_each_name(root: Path) -> None:
    pairs = ",".join(f'"{n}.\N{GRINNING FACE}{"a" * 1500}":"m"' for n in range(26_000))
    (root / INDEX).write_text(f'{{"weight_map": {{{pairs}}}}}', encoding="utf-8")


def all_of_it(root: Path) -> None:
    """What costs most of each kind, in one folder."""
    names_that_do_not_repeat(root, 4)
    shapes_that_do_not_repeat(root)
    the_same_tensors_again(root, 3)
    index_of_what_is_not_there(root)
    shards_without_end(root)
    longest_that_is_read(root)
    nested_header(root)
    many_keys(root)


def wide_characters(root: Path) -> None:
    """An index whose text takes four times its bytes."""
    name = "\N{GRINNING FACE}".encode() * 9_900_000
    (root / INDEX).write_bytes(b'{"weight_map": {"' + name + b'": "m"}}')


def entries_of_an_index(root: Path) -> None:
    (root / INDEX).write_bytes(b'{"weight_map": {"a": "m"}' + b',"a":1' * 6_000_000 + b"}")


def signed(root: Path) -> None:
    payload = base64.b64encode(b"[" + b"[]," * 2_400_000 + b"0]").decode()
    (root / "model.sig").write_text(f'{{"dsseEnvelope": {{"payload": "{payload}"}}}}')


def long_index(root: Path) -> None:
    pairs = ",".join(f'"{n:x}":"m"' for n in range(3_000_000))
    (root / INDEX).write_text(f'{{"weight_map": {{{pairs}}}}}')


def write_zip(root: Path, directory: bytes, end: bytes) -> None:
    with (root / "pytorch_model.bin").open("wb") as file:
        file.write(b"PK\3\4" + bytes(60) + directory)
        file.seek(0 if directory else 1 << 30, 2)  # else zeros, which take no room
        file.write(end)


def two_ends(root: Path) -> None:
    """By the end that zipfile reads, its directory has 1 GiB; by what looks like one, nothing."""
    end = struct.pack("<4s4HL4sH", b"PK\5\6", 0, 0, 1, 1, 1 << 30, b"PK\5\6", 0)
    write_zip(root, b"", end)


def entries_of_a_zip(root: Path) -> None:
    """As many as are read, each of them as short as an entry can be with a name of its own."""
    fields = (
        20,
        0,
        20,
        0,
        0,
        0,
        33333,
        40000,
        1 << 31,
        1 << 30,
        1 << 30,
        7,
        0,
        0,
        0,
        0,
        0,
        1 << 30,
    )
    head = struct.pack("<4s4B4H3L5H2L", b"PK\1\2", *fields)
    directory = b"".join(b"%b%07x" % (head, n) for n in range(MAX_DIRECTORY_BYTES // 53))
    length = len(directory)
    write_zip(root, directory, struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, length, 64, 0))


def names_of_one_header(root: Path) -> None:
    """A header of zeros, which takes no room, under many names."""
    with (root / "a-0.safetensors").open("wb") as file:
        file.write((99_000_000).to_bytes(8, "little"))
        file.truncate(99_000_100)
    for number in range(1, 20):
        (root / f"a-{number}.safetensors").hardlink_to(root / "a-0.safetensors")


CASES: dict[str, tuple[Callable[[Path], None], str]] = {
    "60 shards of 10 000 tensors": (many_tensors, "warning small_shards"),
    "a header of 100 MB": (long_header, "warning safetensors_header"),
    "the longest header that is read": (longest_that_is_read, ""),
    "a deep JSON": (deep, "error config_json"),
    "JSON of ten megabytes twice": (wide, "error config_json"),
    "JSON that is nested again and again": (nested, "error config_json"),
    "JSON of many keys": (many_keys, ""),
    "JSON of many names": (many_small_json, "warning fireworks_json"),
    "JSON of long integers": (long_integers, ""),
    "an index of 40 MB": (long_index, ""),
    "an index of wide characters": (wide_characters, ""),
    "an index of many entries": (entries_of_an_index, "warning index_json"),
    "a header of metadata": (metadata_alone, "warning safetensors_header"),
    "metadata and all that is kept": (
        wide_metadata_and_all_that_is_kept,
        "warning safetensors_header",
    ),
    "a header of nested lists": (nested_header, "warning safetensors_header"),
    "a header of short lists": (header_of_short_lists, "warning safetensors_header"),
    "a header of numbers": (header_of_numbers, "warning safetensors_header"),
    "names that do not repeat": (names_that_do_not_repeat, "warning safetensors_header"),
    "shapes that do not repeat": (shapes_that_do_not_repeat, "warning safetensors_header"),
    "more shapes than any model": (more_shapes_than_any_model, "warning safetensors_header"),
    "the same tensors again": (the_same_tensors_again, "warning duplicate_tensor"),
    "layers without end": (layers_without_end, ""),
    "shards without end": (shards_without_end, "warning index_json"),
    "an index of what is not there": (index_of_what_is_not_there, "error missing_tensor"),
    "an index of escapes": (index_of_escapes, "warning index_json"),
    "an index of wide names": (index_with_a_wide_character_in_each_name, "warning index_json"),
    "all of it": (all_of_it, "warning index_json"),
    "a signature of countless values": (signed, "warning model_sig"),
    "many names of one long header": (names_of_one_header, "warning safetensors_header"),
    "a zip with two ends": (two_ends, "warning pickled_weights"),
    "as many entries of a zip as are read": (entries_of_a_zip, "warning pickled_weights"),
}


#: Each takes seconds.
LARGE = {
    *(many_tensors, wide, long_index, names_that_do_not_repeat, shapes_that_do_not_repeat),
    *(
        wide_metadata_and_all_that_is_kept,
        the_same_tensors_again,
        layers_without_end,
        shards_without_end,
        index_of_what_is_not_there,
    ),
    *(all_of_it, entries_of_a_zip, longest_that_is_read, long_header, more_shapes_than_any_model),
}


@pytest.mark.parametrize(
    ("write", "said"),
    [
        pytest.param(*case, id=name, marks=[pytest.mark.long] if case[0] in LARGE else [])
        for name, case in CASES.items()
    ],
)
def test_a_preflight_takes_no_more_than_400_mb(
    tmp_path: Path, write: Callable[[Path], None], said: str
) -> None:
    files = without(BASE, "model.safetensors")
    write(folder(tmp_path, files))
    found, peak_mb = look(tmp_path)
    assert not said or said in found
    assert peak_mb < MAX_RSS_MB
