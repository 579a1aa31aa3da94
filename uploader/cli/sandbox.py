"""`uploader sandbox`: a stand-in for both services."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from uploader.core.errors import UsageError


def sandbox(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 = any free one.")] = 0,
    data_dir: Annotated[
        Path | None, typer.Option(help="Where objects appear as files.", show_default=False)
    ] = None,
    faults: Annotated[
        str | None, typer.Option(metavar="F", help="A fault script: a file, or the JSON itself.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of everything left to chance.")] = 0,
) -> None:
    """A local stand-in for Fireworks and its storage, to try things out.

    Prints one line of JSON when it listens: base_url, storage_url, api_key, account_id,
    control_token.
    """
    from uploader.sandbox.script import read_script  # no part of the client
    from uploader.sandbox.server import serve

    try:
        serve(port, data_dir, read_script(faults), seed)
    except (OSError, ValueError) as problem:
        hint = "another --port, --data-dir or --faults helps"
        raise UsageError(f"the sandbox cannot start: {problem}", hint=hint) from None
