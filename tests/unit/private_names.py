"""Private names of libraries in the product's code, found in its syntax trees, and their table."""

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import gateway

PACKAGE = Path(gateway.__file__).parent
PAGE = PACKAGE.parent / "docs" / "private-names.md"
_ROW = re.compile(r"^\| `([\w.]+)\.(\w+)` \| ((?:`[\w/.]+`(?:, )?)+) \| .+ \|$", re.MULTILINE)


# Public, for all that they begin with an underscore.
_NAMED_TUPLE = {"_asdict", "_replace", "_fields", "_make"}


class Use(NamedTuple):
    """A private name, and the file (below `gateway/`) that uses it."""

    name: str
    file: str


class Row(NamedTuple):
    """One row of the table: the owner (a class or a module), its name, the files that use it."""

    owner: str
    name: str
    files: list[str]


def find_uses() -> set[Use]:
    """Every private name in the code that the code itself does not define in the same file."""
    return {
        Use(name, path.relative_to(PACKAGE).as_posix())
        for path in PACKAGE.rglob("*.py")
        for name in _find_in(ast.parse(path.read_text()))
    }


def read_table() -> list[Row]:
    """The rows of the page."""
    return [
        Row(owner, name, re.findall(r"`([\w/.]+)`", files))
        for owner, name, files in _ROW.findall(PAGE.read_text())
    ]


def has_name(owner: str, name: str) -> bool:
    """Whether the library's class or module still has the name."""
    found = _find_owner(owner)
    if hasattr(found, name):
        return True
    if not inspect.isclass(found):
        return False
    library = owner.partition(".")[0]
    # What is only ever set on instances.
    return any(
        re.search(rf"\b\w+\.{name}\b", _read_source(kind))
        for kind in found.__mro__
        if kind.__module__.partition(".")[0] == library
    )


@cache
def _read_source(kind: type) -> str:
    return inspect.getsource(kind)


def _find_owner(path: str) -> object:
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError:
        parent, _, name = path.rpartition(".")
        return getattr(_find_owner(parent), name)


def _find_in(tree: ast.Module) -> Iterator[str]:
    own = set(_defined_in(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and _is_private(node.attr):
            is_own = _is_self(node.value) and node.attr in own
            if not is_own and node.attr not in _NAMED_TUPLE:
                yield node.attr
        elif isinstance(node, ast.Subscript) and ast.unparse(node.value).startswith("vars("):
            yield ast.literal_eval(node.slice)
        elif isinstance(node, ast.ImportFrom) and not (node.module or "").startswith("gateway"):
            yield from (alias.name for alias in node.names if _is_private(alias.name))
    # A library's method that is overridden: ours only as long as the library calls it.
    for kind in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
        if any(
            ast.unparse(base).partition(".")[0] in {"web", "aiohttp", "redis"}
            for base in kind.bases
        ):
            base = _find_base(tree, kind)
            yield from (name for name in _defined_in(kind) if base and has_name(base, name))


def _find_base(tree: ast.Module, kind: ast.ClassDef) -> str:
    dotted = ast.unparse(kind.bases[0])
    first, _, rest = dotted.partition(".")
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == first:
                    return f"{node.module}.{alias.name}.{rest}".rstrip(".")
        elif isinstance(node, ast.Import) and any(alias.name == first for alias in node.names):
            return dotted
    return ""


def _defined_in(tree: ast.AST) -> Iterator[str]:
    """Names that the code gives: methods, attributes that it sets, slots, variables."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names = [node.name]
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [name for target in targets for name in _names_of(target)]
            if names == ["__slots__"]:
                names = [item.value for item in ast.walk(node) if isinstance(item, ast.Constant)]
        else:
            continue
        yield from (name for name in names if isinstance(name, str) and _is_private(name))


def _names_of(target: ast.expr) -> Iterator[str]:
    for node in ast.walk(target):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute) and _is_self(node.value):
            yield node.attr


def _is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in {"self", "cls"}


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")
