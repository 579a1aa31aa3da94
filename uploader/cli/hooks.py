"""`uploader hooks`: who is told of what, a test, and another try."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from uploader import wiring
from uploader.cli.grammar import Commands
from uploader.cli.options import AsJson
from uploader.cli.settings import settings_of
from uploader.cli.terminal import out, out_columns, out_json, out_table, width
from uploader.core.errors import NotFound, UploaderError, UsageError
from uploader.core.exits import Exit
from uploader.core.hook_documents import HookJson, hooks_document
from uploader.core.hooks import choice_of
from uploader.core.reasons import Code

if TYPE_CHECKING:
    from uploader.settings.hooks import Hook
    from uploader.settings.schema import Settings

hooks = Commands(
    help="Show, test and retry the hooks of the configuration.\n\nExample: uploader hooks list",
)
HookArgument = Annotated[str, typer.Argument(metavar="NAME", help="The name of a hook.")]
KindOption = Annotated[
    str | None,
    typer.Option(
        metavar="KIND",
        help="The KIND of event, of those it is told of. Default: the first of them.",
        show_default=False,
    ),
]
OptionalHook = Annotated[
    str | None, typer.Argument(metavar="NAME", help="The name of a hook. Default: all hooks.")
]


_COLUMNS = ("hook", "kind", "on", "state", "last_error")
_HEADINGS = ("", *(name.replace("_", " ").upper() for name in _COLUMNS))


@hooks.command("list")
def list_hooks(context: typer.Context, as_json: AsJson = False) -> None:
    """List the hooks, and what waits for each.

    Example: uploader hooks list
    """
    settings = settings_of(context)
    with wiring.Store(settings) as store:
        outbox = store.outbox()
        states = outbox.states([hook.name for hook in settings.hooks]) if outbox else []
    document = hooks_document([(hook.name, hook.kind, hook.on) for hook in settings.hooks], states)
    if as_json:
        out_json(document)
        return
    rows, columns = [_row(one) for one in document["hooks"]], width()
    if columns is None:
        out_columns(_COLUMNS, rows)
    elif rows:
        out_table(_HEADINGS, [("", *row) for row in rows], columns)
    else:
        out("no hooks are configured")


def _row(one: HookJson) -> tuple[str, ...]:
    state = "off" if one["off"] else f"{one['waiting']} waiting"
    return one["name"], one["kind"], ",".join(one["on"]), state, one["last_error"] or ""


@hooks.command("test")
def try_out(context: typer.Context, name: HookArgument, kind: KindOption = None) -> None:
    """Tell one hook of a job that does not exist, to see whether it is taken.

    Example: uploader hooks test deploy --kind failed
    """
    settings = settings_of(context)
    hook = _find(settings, name)
    from uploader.service.hooks.sample import tell_sample

    kinds = choice_of(hook.on)
    if kind is not None and kind not in kinds:
        hint = f"--kind may be {', '.join(kinds)}: see `on` in its table"
        raise UsageError(f"hook {name} is not told of {kind}", hint=hint)
    failed = tell_sample(hook, kind or kinds[0], wiring.clock(), wiring.trust(settings))
    if failed:
        raise HookRefused(f"hook {name} did not take it: {failed}")
    out(f"hook {name} took it")


@hooks.command("retry")
def retry(context: typer.Context, name: OptionalHook = None) -> None:
    """Switch hooks on again, and tell at once what waits for them.

    Example: uploader hooks retry deploy
    """
    settings = settings_of(context)
    named = [_find(settings, name)] if name else list(settings.hooks)
    with wiring.Store(settings) as store:
        outbox = store.outbox()
        count = outbox.retry([hook.name for hook in named], _now()) if outbox else 0
    out(f"{count} waiting: a running worker tells them now")


class HookRefused(UploaderError):
    """The receiver did not take it."""

    exit_code = Exit.FAILED
    code = Code.HOOK_REFUSED


def _find(settings: Settings, name: str) -> Hook:
    for hook in settings.hooks:
        if hook.name == name:
            return hook
    known = ", ".join(hook.name for hook in settings.hooks) or "none is configured"
    raise NotFound(f"there is no hook {name}", hint=f"the hooks: {known}")


def _now() -> datetime:
    return wiring.clock().now()
