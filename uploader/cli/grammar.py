"""How every command is parsed and described: its usage, its help, its other names, `--config`.

A group of commands is a `Commands`, so that each command in it has all of this without asking.
"""

from __future__ import annotations

import importlib
from collections import UserDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group

from uploader.cli.terminal import out_plain
from uploader.core.exits import Exit

#: What people type who know other programs, and the command that is meant.
ALIASES = {"ls": "status", "list": "status", "rm": "remove"}

#: A limit, in characters, that no sentence of a help page reaches.
_WHOLE = 500

#: A row of a help page: a parameter as it is typed, and what it does.
Row = tuple[str, str]


def _remember(context: typer.Context, file: Path | None) -> None:
    if file is not None:
        context.obj = file


#: The program itself declares it, and every command has it from there: the last one given counts.
Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="Read the configuration from FILE.",
        show_default=False,
        readable=False,
        callback=_remember,
        expose_value=False,
    ),
]


class _Command(TyperCommand):
    """One command."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Its own parameters, those that every command has, and --help."""
        return _with_shared(super().get_params(ctx), ctx)

    def get_help_option(self, ctx: Any) -> Any:
        """The option --help."""
        return _helping(super().get_help_option(ctx))

    def invoke(self, ctx: Any) -> Any:
        """Run it. Ctrl-C comes out as SystemExit: Typer would make a bare exit code of it."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise SystemExit(Exit.INTERRUPTED) from None

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """``[OPTIONS] PATH...``: nothing but brackets around what may be left out."""
        del ctx
        arguments = [param for param in self.params if param.param_type_name == "argument"]
        return ["[OPTIONS]", *map(_usage_of, arguments)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Its arguments and options, each with what it does."""
        for title, rows in zip(("Arguments", "Options"), described(self, ctx), strict=True):
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)

    def get_short_help_str(self, limit: int = 0) -> str:
        """What a list of commands says about it: a whole sentence."""
        del limit
        return super().get_short_help_str(_WHOLE)


class Group(TyperGroup):
    """A command that has commands."""

    #: Commands that are loaded when they are asked for: by name, ``module:function`` or
    #: ``module:group`` of this package.
    later: ClassVar[Mapping[str, str]] = {}

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        if self.later:
            self.commands = _Loaded(self.later)

    def get_params(self, ctx: Any) -> list[Any]:
        """Its own parameters, those that every command has, and --help."""
        return _with_shared(super().get_params(ctx), ctx)

    def get_help_option(self, ctx: Any) -> Any:
        """The option --help."""
        return _helping(super().get_help_option(ctx))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name, or the one that is meant by it."""
        found = super().get_command(ctx, cmd_name)
        return found or super().get_command(ctx, ALIASES.get(cmd_name, cmd_name))


class Commands(typer.Typer):
    """A group whose commands are parsed and described as this file says."""

    def __init__(self, kind: type[Group] = Group, **options: Any) -> None:
        super().__init__(cls=kind, rich_markup_mode=None, **options)

    def command(self, name: str | None = None, **options: Any) -> Callable[..., Any]:
        """As `typer.Typer.command`."""
        return super().command(name, cls=_Command, **options)


def _helping(option: Any) -> Any:
    """The option --help, printing as every command prints: the reader may go, a disk be full."""
    option.callback = _print_help
    return option


def _print_help(context: Any, _: Any, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        out_plain(context.get_help())
        context.exit()


class _Loaded(UserDict[str, Any]):
    """The commands of `Group.later`: all are named, and each is loaded when it is taken."""

    def __init__(self, later: Mapping[str, str]) -> None:
        super().__init__(dict.fromkeys(later))
        self._later = later

    def __getitem__(self, name: str) -> Any:
        """Load it, unless it is loaded. Raises KeyError."""
        if self.data[name] is None:
            self.data[name] = _load(name, self._later[name])
        return self.data[name]


def _load(name: str, place: str) -> Any:
    module, _, attribute = place.partition(":")
    loaded = importlib.import_module(f"{__package__}.{module}")
    found, around = getattr(loaded, attribute), Commands()
    if isinstance(found, typer.Typer):
        around.add_typer(found, name=name)
    else:
        around.command(name, context_settings=getattr(loaded, "SETTINGS", None))(found)
    return get_group(around).commands[name]


def described(command: Any, ctx: Any) -> tuple[list[Row], list[Row]]:
    """What a help page says about the arguments and about the options of ``command``."""
    arguments, options = list[Row](), list[Row]()
    for param in command.get_params(ctx):
        if param.param_type_name == "argument":
            arguments.append((param.display_name_raw, param.help or ""))
        elif record := param.get_help_record(ctx):
            options.append(record)
    return arguments, options


def _with_shared(own: list[Any], ctx: Any) -> list[Any]:
    if ctx.parent is None:  # the program itself, which declares them
        return own
    shared = [param for param in ctx.find_root().command.params if param.name == "config"]
    return [*own[:-1], *shared, own[-1]]


def _usage_of(argument: Any) -> str:
    """``PATH``, ``[PATH]``, ``JOB...`` or ``[JOB...]``."""
    name = argument.display_name_raw + ("..." if argument.nargs != 1 else "")
    return name if argument.required else f"[{name}]"
