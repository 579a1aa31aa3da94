"""Checks of LoRA adapters (docs/fireworks.md §1.2, §6).

The tensors of an adapter_model.bin cannot be read, so nothing is said about them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from uploader.core.errors import UsageError
from uploader.core.text import some
from uploader.model.adapter import (
    EMBEDDINGS,
    LM_HEAD,
    SUPPORTED,
    Factors,
    RankPattern,
    brief,
    expand,
    has_pattern,
    heads_adapt,
    is_lora,
    listed_targets,
    quoted,
    short,
    suffixes,
)
from uploader.model.finding import Finding, error, warning
from uploader.model.meant import meant
from uploader.model.names import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from uploader.preflight.contents import Contents

#: "Must be between 4 and 64, inclusive" (docs/fireworks.md §1.2).
RANKS = range(4, 65)
WEIGHTS = ADAPTER_WEIGHTS[0]

#: How many names of modules are listed; any more are counted.
_MAX_LISTED = 5
_LONGEST_LIST = 80
#: How many characters of a path are shown: both of its ends matter, and experts have long ones.
_LONGEST_PATH = 90
_AGAIN = "save the adapter again with PEFT"
#: Fields of a config that make it more than plain LoRA; the service ignores them
#: (docs/fireworks.md §6).
_VARIANTS = (
    "use_dora",
    "use_rslora",
    "use_qalora",
    "use_bdlora",
    "lora_bias",
    "alora_invocation_tokens",
    "trainable_token_indices",
    "target_parameters",
    "layer_replication",
)


def adapter_weights(contents: Contents) -> Iterable[Finding]:
    """There is no adapter_model.safetensors and no adapter_model.bin."""
    if contents.present and contents.present.isdisjoint(ADAPTER_WEIGHTS):
        message = f"{contents.root} contains neither {' nor '.join(ADAPTER_WEIGHTS)}"
        yield error("adapter_weights", None, message, str(meant(contents.root) or _AGAIN))


def peft_type(contents: Contents) -> Iterable[Finding]:
    """An adapter of a method other than LoRA; a variant of LoRA, such as DoRA, only warns."""
    config = contents.object(ADAPTER_CONFIG)
    found = contents.factors
    fields = [name for name in _VARIANTS if config.get(name)]
    hint = "train a plain LoRA, or compare what is served with what was trained"
    if not is_lora(config):
        message = f"{ADAPTER_CONFIG}: peft_type is {quoted(config['peft_type'])}, not LORA"
        yield error("peft_type", ADAPTER_CONFIG, message, "Fireworks serves LoRA adapters only")
    elif fields:
        message = f"{ADAPTER_CONFIG} sets {', '.join(fields)}, documented as ignored by the service"
        yield warning("peft_type", ADAPTER_CONFIG, message, hint)
    elif found and found.modules and found.variants:
        message = f"{WEIGHTS} contains more than plain LoRA has: {brief_some(found.variants)}"
        yield warning("peft_type", WEIGHTS, message, hint)


def lora_rank(contents: Contents) -> Iterable[Finding]:
    """The rank r is not a number from 4 to 64; other values for some modules only warn."""
    config = _lora_config(contents)
    if config is None:
        return
    rank = config.get("r")
    if type(rank) is not int or rank not in RANKS:
        message = f"{ADAPTER_CONFIG}: r is {quoted(rank)}, not a number from 4 to 64"
        yield error(
            "lora_rank", ADAPTER_CONFIG, message, "train the adapter with a rank from 4 to 64"
        )
    for name, common in (("rank_pattern", rank), ("alpha_pattern", config.get("lora_alpha"))):
        patterns = config.get(name)
        if isinstance(patterns, dict) and any(own != common for own in patterns.values()):
            message = f"{ADAPTER_CONFIG} sets {name}, documented as ignored by the service"
            hint = "train all modules with the same r and lora_alpha"
            yield warning("lora_rank", ADAPTER_CONFIG, message, hint)


def lora_targets(contents: Contents) -> Iterable[Finding]:
    """target_modules names no modules, or some that the service cannot adapt."""
    config, found = _lora_config(contents), contents.factors
    if config is None:
        return
    try:
        names = expand(config, found)
    except UsageError as problem:
        # A pattern is resolved by the tensors; another check reports if there are none.
        if WEIGHTS not in contents.present or not has_pattern(config):
            yield error("lora_targets", ADAPTER_CONFIG, problem.message, problem.hint)
        return
    embeddings = EMBEDDINGS | {short(path) for path in (found.embeddings if found else ())}
    # Only the tensors tell whether a bare "gate" is the router, which can be adapted.
    unlisted = {*names} - SUPPORTED - ({"gate"} if found is None else set())
    yield from _unsupported(sorted(unlisted & embeddings), "an embedding")
    yield from _unsupported(sorted(unlisted - embeddings), "not on the documented list")
    if LM_HEAD in names and not heads_adapt(_words_about_base(contents)):
        message = f"{ADAPTER_CONFIG} targets {LM_HEAD}, supported in few families only"
        hint = "the base has to be Llama, Mistral, Qwen2, Qwen2-VL or Kimi K2.5"
        yield warning("lora_targets", ADAPTER_CONFIG, message, hint)


def _unsupported(names: list[str], what: str) -> Iterable[Finding]:
    if names:
        few = ", ".join(brief(name) for name in names[:_MAX_LISTED])
        listed = (
            few if len(names) <= _MAX_LISTED and len(few) <= _LONGEST_LIST else brief_some(names)
        )
        message = f"{ADAPTER_CONFIG} targets {listed}: {what}, so not supported"
        hint = "train on q_proj, k_proj, v_proj, o_proj, up_proj, down_proj, gate_proj"
        yield error("lora_targets", ADAPTER_CONFIG, message, hint)


def _words_about_base(contents: Contents) -> Iterator[object]:
    yield contents.object(ADAPTER_CONFIG).get("base_model_name_or_path")
    mapping = contents.object(ADAPTER_CONFIG).get("auto_mapping")
    yield mapping.get("base_model_class") if isinstance(mapping, dict) else None
    if contents.base:
        yield contents.base.config.get("model_type")


def lora_tensors(contents: Contents) -> Iterable[Finding]:
    """Tensors without their partner, with another rank, or of modules that are not targets."""
    config, found = _lora_config(contents), contents.factors
    if config is None or found is None:
        return
    if not found.modules:
        message = f"{WEIGHTS} contains no LoRA tensor (….lora_A.weight, ….lora_B.weight)"
        hint = "save the adapter with PEFT; upload a merged model as `kind` base"
        yield error("lora_tensors", WEIGHTS, message, hint)
    for look in (_unpaired, _embedded, _misranked, _untouched, _untargeted, _whole):
        yield from look(config, found)


def _unpaired(_config: Mapping[str, Any], found: Factors) -> Iterable[Finding]:
    for missing, there, other in (("A", found.b, found.a), ("B", found.a, found.b)):
        alone = [path for path in there if path not in other]
        if alone:
            message = f"{WEIGHTS} has no lora_{missing} for {brief_some(alone)}"
            yield error("lora_tensors", WEIGHTS, message, _AGAIN)


def _embedded(config: Mapping[str, Any], found: Factors) -> Iterable[Finding]:
    """Adapted embeddings, unless `lora_targets` already refuses them by name."""
    named = {short(name) for name in listed_targets(config)}
    if not listed_targets(config):
        return  # a pattern was expanded from these very tensors
    embedded = [path for path in found.embeddings if short(path) not in named]
    if embedded:
        message = f"{WEIGHTS} adapts embeddings: {brief_some(embedded)}; not supported"
        yield error("lora_tensors", WEIGHTS, message, "train without embedding targets")


def _misranked(config: Mapping[str, Any], found: Factors) -> Iterable[Finding]:
    rank = config.get("r")
    if type(rank) is not int or rank <= 0:
        return
    pattern = RankPattern(config)
    wrong = [
        f"{path}.lora_{side} {list(tensor.shape)}"
        for side, axis, tensors in (("A", 0, found.a), ("B", 1, found.b))
        for path, tensor in tensors.items()
        if 0 not in tensor.shape  # `hollow_weights` refuses those
        and tensor.shape[axis : axis + 1] != (rank,)
        and not _has_other_rank(tensor.shape[axis : axis + 1], path, config, pattern)
    ]
    if wrong:
        message = f"{WEIGHTS} is not of rank {quoted(rank)}: {brief_some(wrong)}"
        hint = f"put it next to the {ADAPTER_CONFIG} that it was trained with"
        yield error("lora_tensors", WEIGHTS, message, hint)


def _has_other_rank(
    sizes: tuple[int, ...], path: str, config: Mapping[str, Any], pattern: RankPattern
) -> bool:
    """Whether something else explains the size: experts in one parameter share a tensor."""
    stacked = config.get("target_parameters") and sizes and sizes[0] and not sizes[0] % config["r"]
    return bool(stacked) or any(pattern.has(path, size) for size in sizes)


def _untouched(config: Mapping[str, Any], found: Factors) -> Iterable[Finding]:
    untouched = dict.fromkeys(listed_targets(config))
    for path in found.modules:
        for name in suffixes(path) if untouched else ():
            untouched.pop(name, None)
    if untouched and found.modules:
        message = f"{WEIGHTS} has no tensors for the target {brief_some(untouched)}"
        hint = "harmless if the base model has no such module"
        yield warning("lora_tensors", WEIGHTS, message, hint)


def _untargeted(config: Mapping[str, Any], found: Factors) -> Iterable[Finding]:
    targets = {*listed_targets(config)}
    if not targets or config.get("target_parameters"):
        return
    adapted = (path for path in found.modules if path not in found.embeddings)
    untargeted = [path for path in adapted if targets.isdisjoint(suffixes(path))]
    if untargeted:
        message = f"{WEIGHTS} adapts modules that are not targets: {brief_some(untargeted)}"
        hint = f"name them in target_modules of {ADAPTER_CONFIG}"
        yield warning("lora_tensors", WEIGHTS, message, hint)


def _whole(_config: Mapping[str, Any], found: Factors) -> Iterable[Finding]:
    if found.whole and found.modules:
        message = f"{WEIGHTS} contains weights that are not LoRA: {brief_some(found.whole)}"
        hint = "the service may refuse them: train without modules_to_save and biases"
        yield warning("lora_tensors", WEIGHTS, message, hint)


def _lora_config(contents: Contents) -> Mapping[str, Any] | None:
    """The adapter's config; None if it cannot be read or is of a method that is refused."""
    config = contents.object(ADAPTER_CONFIG)
    read = ADAPTER_CONFIG in contents.sound and ADAPTER_CONFIG not in contents.trouble
    return config if read and is_lora(config) else None


def brief_some(names: Collection[str]) -> str:
    """The first of ``names``, cut if it is long, and how many more there are."""
    return some([brief(next(iter(names)), _LONGEST_PATH)], of=len(names))
