"""Valid models of many shapes, and ways to break one of them in one place."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from tests.model.weights import Shape, alike, span

DTYPES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}
CLASSES = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}
SMALL = "model.safetensors"
INDEX = "model.safetensors.index.json"


@dataclass(frozen=True)
class Model:
    """A decoder: its config, its tensors by shard, its small files."""

    config: dict[str, Any]
    dtype: str
    shards: tuple[dict[str, Shape], ...]
    indexed: bool
    small: dict[str, bytes]

    @property
    def names(self) -> tuple[str, ...]:
        """The weights' files."""
        count = len(self.shards)
        if count == 1 and not self.indexed:
            return (SMALL,)
        return tuple(f"model-{i + 1:05}-of-{count:05}.safetensors" for i in range(count))

    @property
    def index(self) -> dict[str, Any]:
        pairs = zip(self.names, self.shards, strict=True)
        total = sum(span(self.dtype, shape) for shard in self.shards for shape in shard.values())
        return {
            "metadata": {"total_size": total},
            "weight_map": {tensor: name for name, shard in pairs for tensor in shard},
        }

    def files(self) -> dict[str, bytes]:
        weights = {
            name: alike(shard, self.dtype)
            for name, shard in zip(self.names, self.shards, strict=True)
        }
        index = {INDEX: json.dumps(self.index).encode()} if self.names != (SMALL,) else {}
        return {"config.json": json.dumps(self.config).encode(), **self.small, **weights, **index}


def _layer(number: int, hidden: int, inner: int, kv: int) -> dict[str, Shape]:
    prefix = f"model.layers.{number}."
    return {
        f"{prefix}self_attn.q_proj.weight": (hidden, hidden),
        f"{prefix}self_attn.k_proj.weight": (kv, hidden),
        f"{prefix}self_attn.v_proj.weight": (kv, hidden),
        f"{prefix}self_attn.o_proj.weight": (hidden, hidden),
        f"{prefix}mlp.gate_proj.weight": (inner, hidden),
        f"{prefix}mlp.up_proj.weight": (inner, hidden),
        f"{prefix}mlp.down_proj.weight": (hidden, inner),
        f"{prefix}input_layernorm.weight": (hidden,),
        f"{prefix}post_attention_layernorm.weight": (hidden,),
    }


SMALL_FILES = st.fixed_dictionaries(
    {
        "tokenizer.json": st.just(b'{"version": "1.0"}'),
        "tokenizer_config.json": st.just(b'{"chat_template": "{{ messages }}"}'),
    },
    optional={
        "generation_config.json": st.just(b'{"temperature": 0.7}'),
        "special_tokens_map.json": st.just(b"{}"),
        "README.md": st.binary(max_size=20),
        "LICENSE": st.just(b"Apache"),
        "fireworks.json": st.just(b'{"defaults": {"temperature": 0.5}}'),
        "optimizer.pt": st.just(b"x"),
    },
)


@st.composite
def models(draw: st.DrawFn) -> Model:
    """Llama-like decoders whose config, tensors, shards and index agree."""
    family = draw(st.sampled_from(sorted(CLASSES)))
    head_dim, kv_heads = draw(st.sampled_from((2, 4))), draw(st.integers(1, 2))
    heads = kv_heads * draw(st.integers(1, 2))
    hidden, layers = head_dim * heads, draw(st.integers(1, 4))
    vocab, inner = draw(st.integers(1, 40)), draw(st.integers(1, 16))
    tied, dtype = draw(st.booleans()), draw(st.sampled_from(sorted(DTYPES)))
    tensors: dict[str, Shape] = {
        "model.embed_tokens.weight": (vocab + draw(st.integers(0, 3)), hidden)
    }
    for number in range(layers):
        tensors |= _layer(number, hidden, inner, kv_heads * head_dim)
    tensors["model.norm.weight"] = (hidden,)
    if not tied:
        tensors["lm_head.weight"] = (vocab, hidden)
    config = {
        "architectures": [CLASSES[family]],
        "model_type": family,
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim,
        "vocab_size": vocab,
        "tie_word_embeddings": tied,
        "torch_dtype": DTYPES[dtype],
    }
    shards = _dealt(draw, tensors)
    indexed = len(shards) > 1 or draw(st.booleans())
    return Model(config, dtype, shards, indexed, draw(SMALL_FILES))


def _dealt(draw: st.DrawFn, tensors: dict[str, Any]) -> tuple[dict[str, Shape], ...]:
    """The tensors over one to four shards, in any order, none empty."""
    names = draw(st.permutations(sorted(tensors)))
    count = draw(st.integers(1, min(4, len(names))))
    return tuple({name: tensors[name] for name in names[i::count]} for i in range(count))


Files = dict[str, bytes]
Draw = Callable[..., Any]
Mutation = Callable[[Draw, Model, Files], None]


def _weights(draw: Draw, model: Model) -> str:
    name: str = draw(st.sampled_from(model.names))
    return name


def cut_short(draw: Draw, model: Model, files: Files) -> None:
    name = _weights(draw, model)
    files[name] = files[name][: draw(st.integers(1, len(files[name]) - 1))]


def prolonged(draw: Draw, model: Model, files: Files) -> None:
    files[_weights(draw, model)] += draw(st.binary(min_size=1, max_size=9))


def emptied(draw: Draw, model: Model, files: Files) -> None:
    files[draw(st.sampled_from(("config.json", "tokenizer.json", *model.names)))] = b""


def replaced_by_a_pointer(draw: Draw, model: Model, files: Files) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
    files[draw(st.sampled_from(("config.json", "tokenizer.json", *model.names)))] = pointer


def shard_removed(draw: Draw, model: Model, files: Files) -> None:
    del files[_weights(draw, model)]


def config_removed(draw: Draw, model: Model, files: Files) -> None:
    del draw, model, files["config.json"]


def json_cut(draw: Draw, model: Model, files: Files) -> None:
    del model
    name = draw(st.sampled_from(("tokenizer.json", "tokenizer_config.json")))
    files[name] = files[name][: draw(st.integers(1, len(files[name]) - 1))]


def config_cut(draw: Draw, model: Model, files: Files) -> None:
    del model
    whole = files["config.json"]
    files["config.json"] = whole[: draw(st.integers(1, len(whole) - 1))]


def index_cut(draw: Draw, model: Model, files: Files) -> None:
    del model
    files[INDEX] = files[INDEX][: draw(st.integers(1, len(files[INDEX]) - 1))]


def tensor_invented(draw: Draw, model: Model, files: Files) -> None:
    index = model.index
    index["weight_map"]["model.layers.0.invented.weight"] = _weights(draw, model)
    files[INDEX] = json.dumps(index).encode()


def header_changed(draw: Draw, model: Model, files: Files) -> None:
    """One length of one shape is larger than its bytes."""
    number = draw(st.integers(0, len(model.shards) - 1))
    name, shard = model.names[number], model.shards[number]
    tensor = draw(st.sampled_from(sorted(shard)))
    raw = files[name]
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    header[tensor]["shape"][0] += draw(st.integers(1, 9))
    changed = json.dumps(header).encode()
    files[name] = len(changed).to_bytes(8, "little") + changed + raw[8 + length :]


def quantized(draw: Draw, model: Model, files: Files) -> None:
    method = draw(st.sampled_from(("gptq", "awq", "bitsandbytes")))
    config = {**model.config, "quantization_config": {"quant_method": method, "bits": 4}}
    files["config.json"] = json.dumps(config).encode()


def tensor_moved_and_changed(draw: Draw, model: Model, files: Files) -> None:
    """A tensor of the first shard is in the second as well, with another shape."""
    tensor, shape = draw(st.sampled_from(sorted(model.shards[0].items())))
    second = {**model.shards[1], tensor: (shape[0] + 1, *shape[1:])}
    files[model.names[1]] = alike(second, model.dtype)


@dataclass(frozen=True)
class Fault:
    """``named`` must report it, as an error; ``beside`` may be reported as well."""

    apply: Mutation
    named: frozenset[str]
    beside: frozenset[str] = frozenset()
    fits: Callable[[Model], bool] = lambda _: True


def _fault(apply: Mutation, named: str, beside: str = "", **rest: Any) -> Fault:
    return Fault(apply, frozenset(named.split()), frozenset(beside.split()), **rest)


def _indexed(model: Model) -> bool:
    return INDEX in model.files()


FAULTS = (
    _fault(cut_short, "safetensors_size safetensors_header"),
    _fault(prolonged, "safetensors_size"),
    _fault(emptied, "empty_file"),
    _fault(replaced_by_a_pointer, "lfs_pointer"),
    _fault(shard_removed, "missing_shard no_weights", "missing_shard"),
    _fault(config_removed, "config_json"),
    _fault(config_cut, "config_json"),
    _fault(json_cut, "broken_json", "chat_template"),
    _fault(index_cut, "index_json", fits=_indexed),
    _fault(tensor_invented, "missing_tensor", fits=_indexed),
    _fault(header_changed, "safetensors_header safetensors_size"),
    _fault(quantized, "quantization"),
    _fault(
        tensor_moved_and_changed,
        "duplicate_tensor",
        "total_size config_shapes",
        fits=lambda model: len(model.shards) > 1,
    ),
)
