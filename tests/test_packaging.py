"""What is imported is declared, and what is installed is whole."""

from __future__ import annotations

import ast
import functools
import re
import shlex
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable, Iterable
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import uploader
from uploader.core.distribution import EXTRAS, NAME, install

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
#: Packages that no developer needs to have, by what they are imported as.
NOT_INSTALLED = {"model_signing": "model-signing"}
#: The folder of a wheel that says what is in it.
ABOUT = f"{NAME.replace('-', '_')}-{uploader.__version__}.dist-info"


def packages(nodes: Callable[[ast.Module], Iterable[ast.AST]]) -> set[str]:
    """The packages that the program imports in these nodes of its files."""
    modules = set()
    for room in ("uploader", "migrations"):
        for file in (ROOT / room).rglob("*.py"):
            for node in nodes(ast.parse(file.read_text())):
                if isinstance(node, ast.Import):
                    modules |= {alias.name for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and not node.level:
                    modules |= {f"{node.module}.{alias.name}" for alias in node.names}
    own = {*sys.stdlib_module_names, "uploader"}
    return {package_of(module) for module in modules if module.split(".")[0] not in own}


owners_of = functools.cache(packages_distributions)


def package_of(module: str) -> str:
    """The package, by its normal name, that a module belongs to; several share ``google``."""
    top, _, rest = module.partition(".")
    if top == "google":
        return f"google-{rest.split('.')[0]}".replace("_", "-")
    owners = owners_of().get(top) or [NOT_INSTALLED.get(top, f"{top}?")]
    return normal(owners[0])


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared() -> dict[str, set[str]]:
    """The packages that each extra asks for; under the empty name those that all need."""
    extras = {"": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}
    return {
        extra: {normal(re.split(r"[\[<>=!~; ]", wanted)[0]) for wanted in lines}
        for extra, lines in extras.items()
    }


def test_every_import_is_declared_and_every_declaration_is_imported() -> None:
    # Whoever has model-signing wants signatures to count: that it is there is all that is asked. It
    # imports pyopenssl without declaring it.
    signing = {"model-signing", "pyopenssl"}
    assert packages(ast.walk) == set().union(*declared().values()) - signing


def test_only_what_everybody_installs_is_imported_at_the_head_of_a_file() -> None:
    assert packages(lambda tree: tree.body) <= declared()[""]


def test_the_name_and_the_extras_of_hints_are_those_that_are_installed() -> None:
    assert PROJECT["name"] == NAME
    sources = "".join(file.read_text() for file in (ROOT / "uploader").rglob("*.py"))
    hinted = set(re.findall(r"""\binstall\(['"](\w+)['"]\)""", sources))
    assert hinted == EXTRAS.keys()
    extras = PROJECT["optional-dependencies"]
    assert {extra: [*parts] for extra, parts in EXTRAS.items()} == {
        extra: extras[extra] for extra in EXTRAS
    }


@pytest.mark.parametrize("extra", sorted(EXTRAS))
def test_no_hint_has_this_program_fetched_from_an_index_where_anybody_may_take_its_name(
    extra: str,
) -> None:
    command = shlex.split(install(extra).partition(";")[0])
    assert command[:4] == [sys.executable, "-m", "pip", "install"]
    assert not any(word.startswith(NAME) for word in command)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    asked = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(folder), "."]
    subprocess.run(asked, cwd=ROOT, check=True, capture_output=True, timeout=240)
    (built,) = folder.glob("*.whl")
    return zipfile.ZipFile(built)


@pytest.mark.long
def test_the_wheel_holds_types_migrations_and_no_test(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    sources = {str(file.relative_to(ROOT)) for file in (ROOT / "uploader").rglob("*.py")}
    migrations = {f"uploader/{file.relative_to(ROOT)}" for file in ROOT.glob("migrations/**/*.py")}
    assert names >= sources | migrations | {"uploader/py.typed"}
    assert {name.split("/")[0] for name in names} == {"uploader", ABOUT}


@pytest.mark.long
def test_the_wheel_declares_version_licence_and_command(wheel: zipfile.ZipFile) -> None:
    metadata = wheel.read(f"{ABOUT}/METADATA").decode().splitlines()
    assert f"Version: {uploader.__version__}" in metadata
    assert "Classifier: Typing :: Typed" in metadata
    assert f"{ABOUT}/licenses/LICENSE" in wheel.namelist()
    assert "uploader = uploader.__main__:main" in wheel.read(f"{ABOUT}/entry_points.txt").decode()
