"""The Lua files of the ledger: each names what it includes, no more and no less."""

import re
from importlib.resources import files

import pytest

from gateway.ledger.scripts import ALL, includes_of

FOLDER = files("gateway.ledger") / "lua"
FILES = {
    path.name.removesuffix(".lua"): path.read_text(encoding="utf-8") for path in FOLDER.iterdir()
}
INCLUDED = {name for text in FILES.values() for name in includes_of(text)}


def without_comments(text: str) -> str:
    return re.sub(r"--.*", "", re.sub(r"'[^'\n]*'", "''", text))


def used(name: str) -> dict[str, bool]:
    """Return the modules that a file calls, and whether it has each made when it is needed."""
    text = without_comments(FILES[name])
    found = {}
    for module in INCLUDED - {name}:
        if re.search(rf"\b(local|for)( function)? [\w, ]*\b{module}\b", text):
            continue  # A name of its own.
        rare = re.search(rf"(?<![\w.]){module}\(\)[.(]", text)
        if rare or re.search(rf"(?<![\w.]){module}(\.\w|\(\))", text):
            found[module] = bool(rare)
    return found


@pytest.mark.parametrize("name", FILES)
def test_a_file_names_what_it_includes(name):
    """A name that it forgets is an error only when that line runs."""
    assert includes_of(FILES[name]) == used(name)


@pytest.mark.parametrize("name", FILES)
def test_a_file_has_one_noun(name):
    """A file that outgrows its screens has a second one."""
    assert len(FILES[name].splitlines()) <= 150


@pytest.mark.parametrize("script", ALL, ids=lambda script: script.name)
def test_a_module_stands_in_a_script_once(script):
    """What it keeps for a run, such as tallies, would otherwise be there twice."""
    modules = re.findall(
        r"^local (\w+) = (?:when_needed)?\(function\(\)$", script.text, re.MULTILINE
    )
    assert len(modules) == len(set(modules))
