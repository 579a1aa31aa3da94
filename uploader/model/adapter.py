"""What an adapter's config and tensors say about the adapter (docs/fireworks.md §1.2, §6)."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from uploader.core.errors import UsageError
from uploader.core.once import once
from uploader.core.text import shown
from uploader.model.folder import Folder
from uploader.model.names import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from uploader.model.reading import Malformed, read_object
from uploader.model.safetensors import read_header
from uploader.model.tensors import Tensor

#: The router of a mixture of experts; elsewhere a module of that name is not a target.
GATE = "block_sparse_moe.gate"
#: The modules that an adapter may adapt (docs/fireworks.md §6); lm_head in some families only.
LM_HEAD = "lm_head"
SUPPORTED = frozenset(
    {"q_proj", "k_proj", "v_proj", "o_proj", GATE, LM_HEAD}
    | {"up_proj", "w1", "down_proj", "w2", "gate_proj", "w3"}
)
#: "Embedding targets are unsupported" (docs/fireworks.md §6): their names in common models.
EMBEDDINGS = frozenset(
    {"embed_tokens", "embed_in", "wte", "wpe", "word_embeddings", "tok_embeddings"}
)

_PEFT_ROOT = "base_model.model."
#: Any linear layer; PEFT documents a string, some write it as a list.
_ALL = "all-linear"
# Whole names under any parent: q_proj · q_proj|v_proj · .*\.(q_proj|v_proj)$; not .*_proj
_PLAIN_PATTERN = re.compile(
    r"\^?(?:\.\*\??(?:\\?\.|(?=\()))?\(?(?:\?:)?(\w+(?:\|\w+)*)\)?\$?", re.ASCII
)
# "Llama, Mistral, Qwen2, Qwen2-VL, Kimi K2.5" (docs/fireworks.md §6), in a name or a config's
# model_type.
_LM_HEAD_FAMILY = re.compile(r"llama|mistral|qwen[-_]?2(?!\d)|kimi[-_]?k2[.p_-]?5", re.IGNORECASE)
# A key of a rank_pattern that is just the end of a path or, with ^, the whole path.
_PLAIN_KEY = re.compile(r"(\^?)(\w+(?:\\?\.\w+)*)\$?", re.ASCII)

_LONGEST = 60
#: Longer numbers may have the hash of one another, as many as anybody likes.
_RANKS_END = 1 << 31
#: No real module path is longer; `suffixes` takes time and memory quadratic in it.
_LONGEST_NAME = 300
#: Shows only the beginning of a value that is long or deep.
_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxlong = _REPR.maxother = _LONGEST


@dataclass(frozen=True)
class Factors:
    """The tensors of an adapter as PEFT names them, by the module's path in the base model."""

    a: dict[str, Tensor] = field(default_factory=dict)
    b: dict[str, Tensor] = field(default_factory=dict)
    #: Paths with lora_embedding_A or lora_embedding_B.
    embeddings: dict[str, None] = field(default_factory=dict)
    #: Names of tensors that other kinds of LoRA add, such as DoRA's magnitudes.
    variants: list[str] = field(default_factory=list)
    #: Names of everything else: whole weights and biases.
    whole: list[str] = field(default_factory=list)

    @once
    def modules(self) -> dict[str, None]:
        """Every adapted module once."""
        return dict.fromkeys((*self.a, *self.b, *self.embeddings))


def factors(tensors: Mapping[str, Tensor]) -> Factors:
    """The tensors by what they are; `lora_A.weight` and `lora_A.default.weight` mean the same."""
    found = Factors()
    sides = {"A": found.a, "B": found.b}
    for name, tensor in tensors.items():
        path, lora, rest = name.removeprefix(_PEFT_ROOT).rpartition(".lora_")
        side, _, last = rest.partition(".")
        if lora and side in sides and not last.endswith("bias"):
            sides[side][path] = tensor
        elif lora and side in {"embedding_A", "embedding_B"}:
            found.embeddings[path] = None
        else:
            variant = lora or ".trainable_tokens" in name
            (found.variants if variant else found.whole).append(name)
    return found


def is_lora(config: Mapping[str, Any]) -> bool:
    """Whether the config is for LoRA; a missing peft_type counts as LoRA."""
    return str(config.get("peft_type") or "LORA").upper() == "LORA"


def read_config(folder: Folder) -> dict[str, Any]:
    """The adapter's config; raises Malformed, also if it is not among the files to send."""
    if ADAPTER_CONFIG not in folder.names:
        raise Malformed("is not among the files to send")  # a pipe, for example, is never opened
    return read_object(folder.root / ADAPTER_CONFIG)


def target_modules(
    folder: Folder, config: Mapping[str, Any], given: list[str] | None = None
) -> list[str]:
    """The short names of the adapted modules, as the service expects them.

    What the user has ``given`` counts if neither the config nor the adapter's tensors tell, as with
    an adapter_model.bin. Raises UsageError if nothing tells.
    """
    try:
        return expand(config, _factors_of(folder))
    except UsageError:
        if not given:
            raise
        return given


def _factors_of(folder: Folder) -> Factors | None:
    if ADAPTER_WEIGHTS[0] not in folder.names:
        return None  # left out, refused, or not a file: a pipe would never answer
    try:
        return factors(read_header(folder.root / ADAPTER_WEIGHTS[0]).tensors)
    except (Malformed, OSError):
        return None


def expand(config: Mapping[str, Any], found: Factors | None) -> list[str]:
    """The short names of the modules that ``target_modules`` means.

    A pattern ("all-linear", a regular expression) is resolved by the adapter's own tensors,
    ``found``, or by itself if it only consists of names. Raises UsageError.
    """
    adapted = {short(path) for path in found.modules} if found else set()
    targets = config.get("target_modules")
    listed = listed_targets(config)
    if listed:
        names = (GATE if name == "gate" and GATE in adapted else short(name) for name in listed)
        return list(dict.fromkeys(names))
    if has_pattern(config):
        plain = _PLAIN_PATTERN.fullmatch(str(targets))
        expanded = sorted(adapted) or (plain[1].split("|") if plain else [])
        if expanded:
            return expanded
    message = f"{ADAPTER_CONFIG}: target_modules is not a list of module names: {quoted(targets)}"
    hint = (
        f'write them into {ADAPTER_CONFIG} as a list, like ["q_proj", "v_proj"], or give '
        "`model_json` with peftDetails.targetModules and `allow` lora_targets"
    )
    raise UsageError(message, hint=hint)


def has_pattern(config: Mapping[str, Any]) -> bool:
    """Whether the targets are a pattern, which only the modules themselves resolve."""
    targets = config.get("target_modules")
    return targets == [_ALL] or (isinstance(targets, str) and bool(targets))


def listed_targets(config: Mapping[str, Any]) -> list[str]:
    """The targets as listed, whole paths among them; empty if they are not a list."""
    targets = config.get("target_modules")
    if not isinstance(targets, list) or has_pattern(config):
        return []
    return targets if all(isinstance(name, str) and name for name in targets) else []


def short(path: str) -> str:
    """The service's name for a module: the last part of its path; for a router, its last two."""
    parts = [part for part in path.split(".") if part != "base_layer"] or [path]
    return GATE if ".".join(parts[-2:]) == GATE else parts[-1] or path


def suffixes(path: str) -> Iterator[str]:
    """What a target may call the module: its last part, its last two, … its whole path."""
    start = len(path)
    if start > _LONGEST_NAME:
        yield path.rpartition(".")[2]
        yield path
        return
    while start >= 0:
        start = path.rfind(".", 0, start)
        yield path[start + 1 :]


class RankPattern:
    """The rank_pattern of a config; there may be a key for every module of a model.

    A key that is not just the end of a path is a regular expression from outside. It is never run,
    because some take hours for one line: its rank counts as one that any module may have.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        patterns = config.get("rank_pattern")
        self._ends: dict[str, set[int]] = {}
        self._whole: dict[str, set[int]] = {}
        self._anywhere: set[int] = set()
        for key, rank in patterns.items() if isinstance(patterns, dict) else ():
            if not isinstance(rank, int) or not 0 < rank < _RANKS_END:
                continue  # it is not the rank of anything
            plain = _PLAIN_KEY.fullmatch(key)
            if plain:
                places = self._whole if plain[1] else self._ends
                places.setdefault(plain[2].replace("\\", ""), set()).add(rank)
            else:
                self._anywhere.add(rank)

    def has(self, path: str, rank: int) -> bool:
        """Whether the module may have that rank by this pattern.

        PEFT takes the first key that matches, but sorts the keys when it saves them.
        """
        if rank in self._anywhere or rank in self._whole.get(path, ()):
            return True
        return any(rank in self._ends.get(name, ()) for name in suffixes(path))


def heads_adapt(words: Iterable[object]) -> bool:
    """Whether any of these names is of a family whose lm_head can be adapted."""
    return any(_LM_HEAD_FAMILY.search(str(word)) for word in words)


def quoted(value: object) -> str:
    """A value from a foreign file as part of one line."""
    return brief(_REPR.repr(value))


def brief(text: str, most: int = _LONGEST) -> str:
    """``text`` as part of one line: escaped, and without its middle if it is long."""
    return _cut(shown(_cut(text, most)), most)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: (most - 1) // 2]}…{text[-(most // 2) :]}"
