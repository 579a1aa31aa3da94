"""The named checks of a folder, before anything is created or sent (docs/fireworks.md §6)."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from inspect import cleandoc

from uploader.core.errors import UsageError
from uploader.core.job import Kind
from uploader.model.finding import Finding
from uploader.model.folder import SECRET_FILE, SEEN_BY_SCAN, Folder
from uploader.model.kinds import narrow
from uploader.preflight.checks import (
    adapter,
    adapter_base,
    config,
    decoder,
    files,
    hollow,
    index,
    json_files,
    newer,
    signature,
    text,
    weights,
    wrapped,
)
from uploader.preflight.contents import Contents
from uploader.preflight.serving import LORA_SERVING

ALL = tuple(Kind)
MODELS = (Kind.BASE, Kind.EMBEDDING, Kind.DRAFT)
TEXT = (Kind.BASE, Kind.EMBEDDING)


@dataclass(frozen=True, slots=True)
class Check:
    """A check by its function, which gives it its name and its row in docs/preflight.md."""

    run: Callable[[Contents], Iterable[Finding]]
    kinds: tuple[Kind, ...]
    effect: str

    @property
    def name(self) -> str:
        """The name that findings, `--allow` and docs/preflight.md call it by."""
        return self.run.__name__

    @property
    def about(self) -> str:
        """The sentence about it in docs/preflight.md."""
        return cleandoc(self.run.__doc__ or "").partition("\n")[0]


REFUSES, WARNS, BOTH = "refuses", "warns", "refuses or warns"
CHECKS = (
    Check(files.empty_folder, ALL, REFUSES),
    Check(files.empty_file, ALL, REFUSES),
    Check(files.huge_file, ALL, REFUSES),
    Check(files.lfs_pointer, ALL, BOTH),
    Check(files.partial_download, ALL, BOTH),
    Check(files.open_for_writing, ALL, WARNS),
    Check(files.name_collision, ALL, WARNS),
    Check(files.key_file, ALL, WARNS),
    Check(json_files.broken_json, MODELS, BOTH),
    Check(json_files.json_dialect, ALL, BOTH),
    Check(files.config_json, MODELS, REFUSES),
    Check(files.stray_adapter, MODELS, WARNS),
    # This comes before reading headers, which then reuse the memory that a large index needed.
    Check(index.index_json, MODELS, BOTH),
    Check(config.architectures, (Kind.BASE,), WARNS),
    Check(config.quantization, MODELS, BOTH),
    Check(config.processor, (Kind.BASE,), WARNS),
    Check(config.remote_code, MODELS, WARNS),
    Check(newer.newer_format, MODELS, WARNS),
    Check(text.no_tokenizer, TEXT, BOTH),
    Check(text.chat_template, (Kind.BASE,), WARNS),
    Check(text.fireworks_json, ALL, BOTH),
    Check(weights.no_weights, MODELS, BOTH),
    Check(weights.safetensors_size, ALL, REFUSES),
    Check(weights.safetensors_header, ALL, BOTH),
    Check(hollow.hollow_weights, ALL, BOTH),
    Check(hollow.pickled_weights, ALL, BOTH),
    Check(hollow.unread_weights, MODELS, WARNS),
    Check(wrapped.wrapped_names, MODELS, WARNS),
    Check(wrapped.metadata_format, ALL, WARNS),
    Check(hollow.small_shards, MODELS, WARNS),
    Check(weights.two_formats, MODELS, WARNS),
    Check(weights.duplicate_tensor, MODELS, BOTH),
    Check(index.missing_shard, MODELS, BOTH),
    Check(index.missing_tensor, MODELS, BOTH),
    Check(index.no_index, MODELS, WARNS),
    Check(index.orphan_shard, MODELS, WARNS),
    Check(index.total_size, MODELS, WARNS),
    Check(decoder.config_shapes, TEXT, WARNS),
    Check(decoder.config_layers, TEXT, WARNS),
    Check(decoder.config_heads, TEXT, WARNS),
    Check(decoder.config_dtype, MODELS, WARNS),
    Check(signature.model_sig, ALL, BOTH),
    Check(files.adapter_config, (Kind.LORA,), REFUSES),
    Check(adapter.adapter_weights, (Kind.LORA,), REFUSES),
    Check(adapter.peft_type, (Kind.LORA,), BOTH),
    Check(adapter.lora_rank, (Kind.LORA,), BOTH),
    Check(adapter.lora_targets, (Kind.LORA,), BOTH),
    Check(adapter.lora_tensors, (Kind.LORA,), BOTH),
    Check(adapter_base.lora_base, (Kind.LORA,), BOTH),
)

#: Checks that only run if `rate` or `online` asks for them (intake/forecast.py, intake/online.py).
ASKED_FOR: Mapping[str, tuple[str, str]] = {
    "session_life": (
        WARNS,
        "A file that could not be sent within the week for which a session lives (`rate`).",
    ),
    "api_key": (
        BOTH,
        "The service refuses the API key, or the key belongs to another account (`online`).",
    ),
    "model_id": (BOTH, "A model with that id already exists (`online`)."),
    "lora_serving": (WARNS, LORA_SERVING),
    "service": (REFUSES, "The service cannot be asked (`online`)."),
}
_KINDS = {ALL: "all", MODELS: "all but lora"}


def findings(folder: Folder, kind: Kind, base: Folder | None = None) -> list[Finding]:
    """All findings about ``folder`` as a ``kind``, errors first.

    ``base`` is the folder of an adapter's base model, if that was uploaded from here.
    """
    contents = Contents(narrow(folder, kind), kind, base)
    found = [*contents.folder.findings]
    for check in CHECKS:
        if kind in check.kinds:
            found += check.run(contents)
    return sorted(found, key=lambda finding: finding.severity)


def overrule(found: Iterable[Finding], allowed: Collection[str]) -> list[Finding]:
    """``found``, with errors of ``allowed`` checks turned into warnings. Raises UsageError.

    A folder with nothing to send, or with a key in it, stays refused whatever is allowed.
    """
    for name in allowed:
        _check_name(name)
    yielding = set(allowed) - {files.empty_folder.__name__, SECRET_FILE}
    milder = (replace(f, severity="warning") if f.check in yielding else f for f in found)
    return sorted(milder, key=lambda finding: finding.severity)


def check_names() -> list[str]:
    """The names of all checks that a finding may have."""
    return [*SEEN_BY_SCAN, *(check.name for check in CHECKS), *ASKED_FOR]


def _check_name(name: str) -> None:
    known = check_names()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"the checks are {', '.join(known)}"
        raise UsageError(f"there is no check {name}", hint=hint)


def render_table() -> str:
    """The table of checks, as docs/preflight.md shows it."""
    scanned = ((name, ALL, effect, about) for name, (effect, about) in SEEN_BY_SCAN.items())
    checked = ((check.name, check.kinds, check.effect, check.about) for check in CHECKS)
    asked = ((name, ALL, effect, about) for name, (effect, about) in ASKED_FOR.items())
    rows = (
        f"| `{name}` | {_KINDS.get(kinds) or ', '.join(kinds)} | {effect} | {about} |"
        for name, kinds, effect, about in (*scanned, *checked, *asked)
    )
    return "\n".join(("| check | kinds | what it does | when |", "|---|---|---|---|", *rows))
