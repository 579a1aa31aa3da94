"""What the service says about an adapter's base model, and what that means for serving both."""

from __future__ import annotations

from collections.abc import Iterable

from uploader.model.finding import Finding, warning

LORA_SERVING = (
    "The adapter's base model is FP8 or FP4 by default, takes no LoRA, or is not found: "
    "READY may not mean servable (`online`)."
)
_CHECK = "lora_serving"
#: Deployment shapes of these precisions take no addons; those of BF16 do (docs/fireworks.md §4).
_NARROW = ("FP8", "FP4")


def lora_serving(
    base_model: str, default_precision: str, *, supports_lora: bool | None
) -> Iterable[Finding]:
    """Warnings for an adapter of ``base_model``, a resource name; what is unknown is fine.

    ``default_precision`` is as the service spells it: ``FP8_MM``, ``BF16``.
    """
    may = "the adapter may become READY but never be served"
    merge = "merge the adapter into its base and upload the whole model"
    if supports_lora is False:
        message = f"{base_model} says supportsLora: false; {may}"
        yield warning(_CHECK, None, message, f"choose a base that takes LoRA, or {merge}")
    elif any(narrow in default_precision.upper() for narrow in _NARROW):
        message = f"{base_model} is deployed in {default_precision} by default; {may}"
        hint = f"deploy the base in BF16 with addons enabled, or {merge}"
        yield warning(_CHECK, None, message, hint)


def base_not_found(base_model: str) -> Finding:
    """A warning that the service shows no model by this resource name."""
    message = f"there is no model {base_model}, or this key may not see it"
    hint = "check `base_model`: an adapter is created for a model that Fireworks has"
    return warning(_CHECK, None, message, hint)
