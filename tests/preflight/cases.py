"""Every good and every bad folder of the checks, by the file they stand in and their name."""

from __future__ import annotations

from tests.model.build import Brief
from tests.preflight import (
    test_check_adapter,
    test_check_config,
    test_check_decoder,
    test_check_files,
    test_check_hollow,
    test_check_json,
    test_check_newer,
    test_check_text,
    test_check_weights,
    test_check_wrapped,
)

_MODULES = {
    "adapter": test_check_adapter,
    "config": test_check_config,
    "decoder": test_check_decoder,
    "files": test_check_files,
    "hollow": test_check_hollow,
    "json": test_check_json,
    "newer": test_check_newer,
    "text": test_check_text,
    "weights": test_check_weights,
    "wrapped": test_check_wrapped,
}

GOOD: dict[str, dict[str, bytes]] = {
    f"{about}: {name}": files
    for about, module in _MODULES.items()
    for name, files in module.GOOD.items()
}
#: With what has to be said of each: check, severity, file.
BAD: dict[str, tuple[dict[str, bytes], Brief]] = {
    f"{about}: {name}": case
    for about, module in _MODULES.items()
    for name, case in module.BAD.items()
}
