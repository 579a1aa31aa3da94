"""`uploader sandbox`: a stand-in for both services."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from uploader.cli.terminal import out_plain
from uploader.core.errors import UsageError

_Port = Annotated[
    int, typer.Option(metavar="PORT", min=0, max=65535, help="Listen on PORT; 0: any free one.")
]


_DataDir = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Let objects appear as files in the folder DIR, and keep it for the next start.",
        show_default=False,
    ),
]
_Faults = Annotated[
    str | None,
    typer.Option(
        metavar="FAULTS", help="FAULTS is a fault script: a file, the JSON itself, or `help`."
    ),
]
_Seed = Annotated[int, typer.Option(metavar="N", help="Let N be the seed of random faults.")]
_Tls = Annotated[bool, typer.Option("--tls", help="Use TLS; a client must trust `ca_file`.")]
_Env = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Write variables for a shell to FILE: after `. FILE` uploader uses this sandbox.",
        show_default=False,
    ),
]


def sandbox(
    *,
    port: _Port = 0,
    storage_port: _Port = 0,
    data_dir: _DataDir = None,
    faults: _Faults = None,
    seed: _Seed = 0,
    tls: _Tls = False,
    env: _Env = None,
) -> None:
    """Run a local stand-in for Fireworks and its storage, to try things out.

    Prints one line of JSON when it listens: base_url, storage_url, api_key, account_id,
    control_token, and with --tls ca_file.

    Example: uploader sandbox --data-dir ./sandbox --env ./sandbox.env
    """
    from uploader.sandbox.kinds import help_text  # not part of the client
    from uploader.sandbox.script import ScriptError, read_script
    from uploader.sandbox.server import serve
    from uploader.store.database.state_folder import refuse_hostile_way

    if faults == "help":
        out_plain(help_text().rstrip())
        return
    if data_dir is not None:
        refuse_hostile_way("data folder", data_dir)
    try:
        script = read_script(faults)
        serve(port, data_dir, script, seed, storage_port=storage_port, tls=tls, env_file=env)
    except ScriptError as problem:
        hint = "`uploader sandbox --faults help` lists them"
        raise UsageError(f"the sandbox cannot start: {problem}", hint=hint) from None
    except (OSError, ValueError) as problem:
        hint = "try another --port, --storage-port, --data-dir or --env"
        raise UsageError(f"the sandbox cannot start: {problem}", hint=hint) from None
