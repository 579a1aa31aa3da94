from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from uploader.core import errors
from uploader.core.api_reasons import ApiCode
from uploader.core.coded import Coded
from uploader.core.errors import (
    Corrupted,
    JobError,
    JobRefused,
    RemoteError,
    SourceAway,
    SourceChanged,
    SourceMissing,
    SourceUnreadable,
    SourceUnsettled,
    UploaderError,
)
from uploader.core.exits import DAMAGED, Exit, exit_of
from uploader.core.job import Reason, Status
from uploader.core.reasons import Code
from uploader.core.resumable import ProtocolError
from uploader.core.retry import Backoff, Block, Fail, RetryAt, decide
from uploader.core.store_reasons import StoreCode
from uploader.core.verdict import Call, Verdict
from uploader.remote import refusals

CODES: list[Coded] = [*Code, *StoreCode, *ApiCode]
SOURCE = Path(__file__).parents[2] / "uploader"
NOW = datetime(2026, 11, 22, tzinfo=UTC)
#: The sandbox is another program; its answers have codes of their own.
FILES = [
    file
    for file in sorted(SOURCE.rglob("*.py"))
    if "sandbox" not in file.parts and not file.match("core/*reasons.py")
]


@pytest.mark.parametrize("code", CODES)
def test_every_code_says_what_it_means_and_what_to_do(code: Coded) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", code)
    assert code == code.name.lower()
    assert code.meaning.endswith(".")
    assert bool(code.hint) is not bool(code.made)
    assert not re.search(r"[.:] *$", code.hint + code.made)
    assert code.leads_to not in (Status.PAUSED, Status.DONE)


# -- no other home -----------------------------------------------------------------------------


def codes_in(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every string literal that stands where a code does, or that can be nothing else."""
    for node in ast.walk(tree):
        match node:
            case ast.keyword(arg="code", value=ast.Constant(value=str(text))):
                yield node.value.lineno, text
            case ast.Call(
                func=ast.Name(id="Reason" | "Cause"), args=[ast.Constant(value=str(text)), *_]
            ):
                yield node.lineno, text
            case ast.Assign(targets=[ast.Name(id="code")], value=ast.Constant(value=str(text))):
                yield node.lineno, text
            case ast.AnnAssign(target=ast.Name(id="code"), value=ast.Constant(value=str(text))):
                yield node.lineno, text
            case ast.Constant(value=str(text)) if "_" in text and text in CODES:
                yield node.lineno, text


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(SOURCE)))
def test_no_code_is_spelled_outside_its_home(file: Path) -> None:
    assert [*codes_in(ast.parse(file.read_text()))] == []


def test_a_code_spelled_elsewhere_is_found() -> None:
    loose = (
        'f(code="x")\nReason("y", "m")\nclass E:\n    code = "z"\n    code: str = "v"\n'
        'if reason == "model_gone": ...\nsay("quota")'
    )
    assert [text for _, text in codes_in(ast.parse(loose))] == ["y", "z", "v", "x", "model_gone"]


def test_every_code_is_used() -> None:
    used = {
        node.attr
        for file in FILES
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Attribute)
        and ast.unparse(node.value) in ("Code", "StoreCode", "ApiCode")
    }
    assert {code.name for code in CODES} - used == set()


def raised() -> Iterator[tuple[str, Coded, bool]]:
    """Each error that is made: where, under which code, and whether with a hint of its own."""
    # A class that takes something else than words makes its hint itself.
    classes = {kind.__name__: kind for kind in kinds(UploaderError) if "__init__" not in vars(kind)}
    classes |= {"JobRefused": JobRefused, "RemoteError": RemoteError}
    by_name = {f"{type(code).__name__}.{code.name}": code for code in CODES}
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in classes:
                given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                own = classes[ast.unparse(node.func)].code
                code = by_name.get(given["code"]) if "code" in given else own
                if code is not None:  # else it is a variable's
                    yield f"{file.relative_to(SOURCE)}:{node.lineno}", code, "hint" in given


def test_a_hint_that_has_to_be_made_is_made_wherever_the_error_is() -> None:
    found = [*raised()]
    assert len(found) > 50
    assert [place for place, code, hinted in found if code.made and not hinted] == []


# -- the errors keep to it ---------------------------------------------------------------------


def kinds(of: type[UploaderError]) -> Iterator[type[UploaderError]]:
    for kind in of.__subclasses__():
        yield kind
        yield from kinds(kind)


def test_every_error_that_has_no_code_of_its_own_demands_one() -> None:
    ours = (kind for kind in kinds(UploaderError) if kind.__module__ == UploaderError.__module__)
    without = {kind for kind in ours if kind.code is UploaderError.code}
    assert without == {JobError, JobRefused, RemoteError}
    with pytest.raises(TypeError, match="code"):
        JobRefused("words")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="code"):
        RemoteError(Verdict.FAILED, Call.GET, "words")  # type: ignore[call-arg]


def test_an_error_has_the_hint_of_its_code_unless_it_knows_better() -> None:
    assert JobRefused("words", code=Code.MODEL_GONE).hint == Code.MODEL_GONE.hint
    assert JobRefused("words", code=Code.MODEL_GONE, hint="do").hint == "do"


FAMILIES: list[Exception] = [
    SourceChanged("words"),
    SourceMissing("words"),
    SourceUnreadable("words"),
    SourceAway("words", code=Code.SOURCE_GONE),
    SourceUnsettled("words"),
    Corrupted("words"),
    ProtocolError("words"),
    KeyError("a bug"),
    *(
        RemoteError(verdict, Call.GET, "words", code=refusals.CODES[verdict])
        for verdict in Verdict
        if verdict in refusals.CODES
    ),
    *(
        RemoteError(Verdict.BLOCKED, Call.GET, "words", code=code)
        for code in Code
        if code.leads_to is Status.BLOCKED
    ),
]


@pytest.mark.parametrize("error", FAMILIES, ids=lambda error: getattr(error, "code", "bug"))
def test_an_error_leads_where_its_code_says(error: Exception) -> None:
    decision = decide(error, 1, NOW, 0.5, Backoff())
    leads = {RetryAt: Status.ACTIVE, Block: Status.BLOCKED, Fail: Status.FAILED}
    assert {str(code): code.leads_to for code in CODES}[decision.reason.code] is leads[
        type(decision)
    ]


def test_whatever_refuses_a_job_fails_it() -> None:
    raised = {
        ast.unparse(keyword.value)
        for file in FILES
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "JobRefused"
        for keyword in node.keywords
        if keyword.arg == "code"
    }
    by_name = {f"Code.{code.name}": code for code in Code}
    assert raised
    assert {by_name[name].leads_to for name in raised} == {Status.FAILED}


def test_damage_ends_in_an_exit_code_of_its_own() -> None:
    for code in Code:
        ends = exit_of(Status.FAILED, Reason(code, "words"))
        assert ends is (Exit.INTEGRITY if code in DAMAGED else Exit.FAILED)


def test_the_tree_of_errors_says_in_what_each_of_them_ends() -> None:
    """Damage has the same exit code as an error of a command and as the reason of a job."""
    rows = re.findall(r"[├└]── (\w+) +(\d+|-) ", errors.__doc__ or "")
    for name, code in rows:
        error: type[UploaderError] = getattr(errors, name)
        if code != "-":
            assert error.exit_code == int(code)
            assert (error.code in DAMAGED) <= (error.exit_code is Exit.INTEGRITY)
    known = {name for name, _ in rows} | {"UploaderError", "JobError", "RemoteError"}
    assert known == {
        name
        for name, one in vars(errors).items()
        if isinstance(one, type) and issubclass(one, UploaderError)
    }
