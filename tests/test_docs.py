"""The documents say what is there: links, sections, paths, commands, and the tables of the code."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from starlette.routing import Route

from uploader.service.http.app import application
from uploader.settings.load import KEYS

ROOT = Path(__file__).parents[1]
DOCS = {page.name: page.read_text() for page in sorted((ROOT / "docs").glob("*.md"))}
PAGES = {f"docs/{name}": text for name, text in DOCS.items()} | {
    name: (ROOT / name).read_text() for name in ("README.md", "CHANGELOG.md", "SECURITY.md")
}
_SECTION = re.compile(r"^#{2,3} (\d+(?:\.\d+)?)\.? \S", re.MULTILINE)
_TRAP = re.compile(r"^\| (T\d+) \|", re.MULTILINE)
#: A link to another page with the sections that are meant of it, or a section of this page.
_REFERENCE = re.compile(r"(?:\[([\w-]+\.md)\]\([^)]+\)\s+)?((?:§|\bT)\d[\d.]*\b)")

#: A page, and what is meant of it: `docs/fireworks.md §1.2, §6`, `docs/gcs-resumable.md T1 to T7`.
_CITATION = re.compile(r"docs/([\w-]+\.md)((?:(?:,| and| to)? (?:§\d+(?:\.\d+)?|T\d+))*)")
#: A citation, one in the text of a page that the code writes, or one of a standard.
_CITED = re.compile(rf"{_CITATION.pattern}|\]\([\w-]+\.md\) §|RFC \d+ §")
CODE = {
    str(path.relative_to(ROOT)): path.read_text()
    for room in ("uploader", "tests", "migrations")
    for path in sorted((ROOT / room).rglob("*.py"))
    if path != Path(__file__)
}


def places(page: str) -> set[str]:
    """What may be cited of a page: its numbered sections, and the numbers of its traps."""
    text = DOCS.get(page, "")
    return {f"§{number}" for number in _SECTION.findall(text)} | set(_TRAP.findall(text))


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_to_a_file(name: str) -> None:
    prose = re.sub(r"`[^`]*`", "", PAGES[name])
    targets = re.findall(r"\]\(([^)#:]+)[^)]*\)", prose)
    folder = (ROOT / name).parent
    assert [target for target in targets if not (folder / target).exists()] == []


@pytest.mark.parametrize("name", DOCS)
def test_every_section_that_a_page_names_exists(name: str) -> None:
    named = [(page or name, place) for page, place in _REFERENCE.findall(DOCS[name])]
    assert [(page, place) for page, place in named if place not in places(page)] == []


def test_every_citation_in_the_code_names_a_page_and_a_section_that_exist() -> None:
    cited = [
        (name, page, place)
        for name, text in CODE.items()
        for page, named in _CITATION.findall(text)
        for place in re.findall(r"§[\d.]*\d|T\d+", named) or [""]
    ]
    assert len(cited) > 100
    unknown = [(name, page) for name, page, _ in cited if page not in DOCS]
    assert unknown + [one for one in cited if one[2] and one[2] not in places(one[1])] == []


def test_no_section_is_cited_without_its_page() -> None:
    bare = {name: _CITED.sub("", text) for name, text in CODE.items()}
    assert [name for name, text in bare.items() if "§" in text] == []


@pytest.mark.parametrize("name", DOCS)
def test_no_section_has_the_number_of_another(name: str) -> None:
    numbers = _SECTION.findall(DOCS[name])
    assert sorted(set(numbers)) == sorted(numbers)


@pytest.mark.parametrize("name", PAGES)
def test_every_path_and_make_target_that_a_page_names_exists(name: str) -> None:
    paths = re.findall(r"`((?:uploader|tests|migrations|bench)/[\w./-]*(?:/|\.py))`", PAGES[name])
    assert [path for path in paths if not (ROOT / path).exists()] == []
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"`make ([a-z-]+)[^`]*`", PAGES[name])) <= set(targets)


def test_every_name_that_a_page_places_in_a_file_is_there() -> None:
    lists = r"((?:`\w+`(?:, | and | or )?)+) (?:of|in) `((?:uploader|tests|bench)/[\w./]+\.py)`"
    placed = [
        (name, file)
        for text in PAGES.values()
        for names, file in re.findall(lists, text)
        for name in re.findall(r"\w+", names.replace(" and ", " ").replace(" or ", " "))
    ]
    assert len(placed) > 20
    lost = (one for one in placed if not re.search(rf"\b{one[0]}\b", (ROOT / one[1]).read_text()))
    assert [*lost] == []


def test_every_invariant_names_the_tests_that_fail_without_it() -> None:
    _, *parts = re.split(r"^## \d+\. ", DOCS["invariants.md"], flags=re.MULTILINE)
    assert len(parts) == 10
    assert [part for part in parts if not re.search(r"^Tests: `tests/", part, re.MULTILINE)] == []


def test_the_table_of_rooms_is_the_one_that_imports_obey() -> None:
    rows = re.findall(r"^\| (\d+) \| `(\w+)(?:/|\.py)` \|", DOCS["architecture.md"], re.MULTILINE)
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = enumerate(contracts["contracts"][0]["layers"], start=1)
    assert set(rows) == {(str(layer), room) for layer, line in layers for room in line.split(" | ")}


def test_prose_fits_into_a_hundred_columns() -> None:
    """Not what cannot be broken: code, a row, a picture, the name of a test, a command's help."""
    whole = re.compile(r"(?ms)^```.*?^```|^(?:\||!\[|- `tests/|Exchanges of )[^\n]*")
    too_long = {
        f"{name}: {line}"
        for name, text in PAGES.items()
        for line in re.sub(whole, "", text).splitlines()
        if len(line) > 100
    }
    assert too_long == set()


def test_the_table_of_settings_names_each_of_them() -> None:
    assert sorted(first_column(DOCS["configuration.md"])) == sorted(KEYS)


def test_the_table_of_paths_names_each_route_of_the_api() -> None:
    rows = re.findall(r"^\| `(GET|POST) ([^`?]+)[^`]*`([^|]*) \|", DOCS["api.md"], re.MULTILINE)
    named = {
        (method, path if word is None else f"{path.rpartition('/')[0]}/{word}")
        for method, path, more in rows
        for word in (None, *re.findall(r"`(\w+)`", more))
    }
    app: Any = application(MagicMock(), MagicMock(), "127.0.0.1:1", MagicMock())
    routes = (route for route in app._app.routes if isinstance(route, Route))
    assert named == {
        (method, route.path) for route in routes for method in {*(route.methods or ())} - {"HEAD"}
    }


def test_the_table_of_commands_names_each_of_them() -> None:
    asked = [sys.executable, "-m", "uploader", "--help"]
    helped = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    shown = {words.split()[0] for row in first_column(DOCS["cli.md"]) for words in row.split(", ")}
    assert shown == set(re.findall(r"^  ([a-z]+)  ", helped, re.MULTILINE))


def first_column(text: str) -> Iterator[str]:
    """What stands in backticks in the first cell of each row, spread over a few cells or one."""
    for cell in re.findall(r"^\| (`[^|]+`[^|]*) \|", text, re.MULTILINE):
        yield ", ".join(re.findall(r"`([^`]+)`", cell))
