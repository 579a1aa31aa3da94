"""Parsers of the files of a model."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.fuzz.parser import JSON, Parser
from tests.model.build import INDEX, SHARDED, safetensors, zipped
from uploader.core.errors import UploaderError
from uploader.intake.inspect import inspect_folder
from uploader.intake.request import EnqueueRequest
from uploader.model.fields import merged, read_fields
from uploader.model.folder import scan
from uploader.model.index import read_index
from uploader.model.kinds import create_body
from uploader.model.pickled import check_pickled
from uploader.model.reading import Malformed, read_object
from uploader.model.safetensors import read_header

_KEYS = ('"architectures":', '"model_type":', '"torch_dtype":', '"quantization_config":',
         '"num_hidden_layers":', '"text_config":', '"hidden_size":', '"vocab_size":',
         '"LlamaForCausalLM"', '"tie_word_embeddings":', '"auto_map":', '"eos_token_id":',
         '"num_attention_heads":', '"head_dim":', '"chat_template":')  # fmt: skip
_ADAPTER = ('"peft_type":', '"LORA"', '"r":', '"lora_alpha":', '"target_modules":', '"q_proj"',
            '"rank_pattern":', '"alpha_pattern":', '"modules_to_save":', '"bias":',
            '"use_dora":', '"base_model_name_or_path":', '"(.*)*"')  # fmt: skip
_INDEX = ('"weight_map":', '"metadata":', '"total_size":', '"model-00001-of-00002.safetensors"')


def model_files(folder: Path) -> dict[str, Parser]:
    folder.mkdir()
    one, adapter = folder / "one.safetensors", {"adapter_config.json", "adapter_model.safetensors"}

    def header(raw: bytes) -> object:
        one.write_bytes(len(raw).to_bytes(8, "little") + raw + bytes(64))
        return read_header(one)

    def written(read: Callable[[Path], object]) -> Callable[[bytes], object]:
        def write(raw: bytes) -> object:
            one.write_bytes(raw)
            return read(one)

        return write

    looked = _folder(folder / "base", {**SHARDED}, None)
    lora = _folder(folder / "lora", dict.fromkeys(adapter, b""), "accounts/a/models/m")
    return {
        "a header": Parser(
            header,
            (*JSON, '"dtype":', '"F32"', '"shape":', '"data_offsets":', "[0,4]",
             '"__metadata__":'),
            (b'{"a":{"dtype":"U8","shape":[64],"data_offsets":[0,64]}}',),
            (Malformed,),
        ),
        "a safetensors file": Parser(
            written(read_header), ("\0", "\1", "\xff",
            *JSON), (safetensors({"a": 8}),), (Malformed,)
        ),
        "pickled weights": Parser(
            written(check_pickled),
            ("PK\3\4", "PK\1\2", "PK\5\6", "\0", "\xff", "\x80\2", "archive/data.pkl"),
            (zipped({"a": 8}),),
            (Malformed,),
        ),
        "JSON": Parser(written(read_object), JSON, (b'{"a": [1, "b", null]}',), (Malformed,)),
        "an index": Parser(
            written(read_index), (*JSON, *_INDEX), (SHARDED[INDEX],), (Malformed,)
        ),
        "fields of a model": Parser(
            written(lambda path: merged({}, read_fields(path))),
            (*JSON, '"contextLength":', '"peftDetails":', '"baseModelDetails":', '"r":'),
            (b'{"contextLength": 32768, "peftDetails": {"r": 8}}',),
        ),
        "a folder": Parser(
            looked, (*JSON, *_KEYS, *_INDEX), (SHARDED["config.json"],), long=False
        ),
        "an adapter": Parser(lora, (*JSON, *_ADAPTER), (_LORA,), long=False),
    }  # fmt: skip


_LORA = (
    b'{"peft_type":"LORA","r":8,"lora_alpha":16,"target_modules":["q_proj"],'
    b'"base_model_name_or_path":"a/b"}'
)


def _folder(root: Path, files: Mapping[str, bytes], base: str | None) -> Callable[[bytes], object]:
    """Every JSON file of a folder is ``raw``, one after the other, and the folder is looked at."""
    root.mkdir()
    for name, body in files.items():
        (root / name).write_bytes(body)
    if base:
        keys = ("lora_A", "lora_B")
        names = {
            f"base_model.model.model.layers.0.self_attn.q_proj.{key}.weight": 8 for key in keys
        }
        (root / "adapter_model.safetensors").write_bytes(safetensors(names))
    request = EnqueueRequest(root, base_model=base)

    def look(raw: bytes) -> None:
        for name in filter(lambda name: name.endswith(".json"), files):
            (root / name).write_bytes(raw)
            with contextlib.suppress(UploaderError):
                seen = inspect_folder(request)
                json.dumps(seen.as_json())
                if not seen.errors:
                    create_body(seen.folder, seen.kind, "m", base_model=base)
            (root / name).write_bytes(files[name])
        scan(root)

    return look
