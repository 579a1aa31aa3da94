"""Below the command line, messages name fields; the command line spells their flags."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from uploader.cli import app
from uploader.cli.flags import flag, spelled, spelled_document

ROOT = Path(__file__).parents[2] / "uploader"
ROOMS = ("core", "intake", "model", "preflight", "settings", "sources", "store")
#: A whole command line in backticks is advice that a terminal takes as it stands.
_COMMAND = re.compile(r"`\w+ [^`]*`")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("`model_id` is empty", "--model-id is empty"),
        ("give `huggingFaceUrl` once", "give --hugging-face-url once"),
        ("`kind` lora, or `include` it", "--kind lora, or --include it"),
        ("`uploader retry 1` and `config.json`", "`uploader retry 1` and `config.json`"),
        ("the model id, the path", "the model id, the path"),
        ("`path` of verify, `fields` has none", "--path of verify, `fields` has none"),
    ],
)
def test_a_field_in_backticks_is_spelled_as_its_flag(text: str, shown: str) -> None:
    assert spelled(text) == shown


def test_of_a_document_only_its_sentences_are_spelled() -> None:
    file = {"path": "`kind`", "why": "`exclude`", "found": [{"hint": "`allow` it", "size": 1}]}
    assert spelled_document(file) == {
        "path": "`kind`",
        "why": "--exclude",
        "found": [{"hint": "--allow it", "size": 1}],
    }


def test_every_flag_that_is_spelled_exists() -> None:
    commands = typer.main.get_command(app.app).commands  # type: ignore[attr-defined]
    known = {
        name
        for command in (typer.main.get_command(app.app), *commands.values())
        for parameter in command.params
        for name in parameter.opts
    }
    names = re.findall(r"`(\w+)`", spelled_names())
    assert names
    assert {flag(name) for name in names} <= known


def spelled_names() -> str:
    """Every field that a message below the command line may name."""
    from uploader.cli.flags import _NAMES  # noqa: PLC0415

    return " ".join(f"`{name}`" for name in _NAMES if name != "fields")


def texts(path: Path) -> Iterator[str]:
    """The texts of a module, those with values in them as a whole, without its docstrings."""
    for node in ast.walk(ast.parse(path.read_text())):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.JoinedStr):
                yield "".join(str(getattr(part, "value", "")) for part in child.values)
            elif isinstance(child, ast.Constant) and not isinstance(node, ast.Expr | ast.JoinedStr):
                yield str(child.value)


@pytest.mark.parametrize("room", ROOMS)
def test_no_message_below_the_command_line_names_a_flag(room: str) -> None:
    found = {
        f"{path.name}: {text}"
        for path in (ROOT / room).rglob("*.py")
        # The hints of a job's reason are for its terminal, and commands are other programs'.
        if path.name not in ("reasons.py", "elsewhere.py")
        for text in texts(path)
        if re.search(r"(?<!\w)--[a-z]", _COMMAND.sub("", text))
    }
    assert found == set()
