"""The stock `keepa` package: what of it is replaced, and whether it looks as it is known to.

Replaced are four names, and nothing of keepa's files: `requests` inside `keepa.keepa_sync` and
`aiohttp` inside `keepa.keepa_async` decide where calls go, `_request` of its two classes who waits,
and how. A keepa that makes its calls in any other way would go on to the real Keepa unseen, so its
source is read first, and what is not as expected stops the routing.
"""

import ast
import importlib
import importlib.metadata
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

KEEPA = "https://api.keepa.com/"
_REQUEST = ("self", "request_type", "payload", "wait", "raw_response", "is_json")


class NotRouted(RuntimeError):
    """The stock client could not be routed to the gateway, and is as it was."""


@dataclass(frozen=True)
class Way:
    """How one of keepa's modules makes its calls.

    Attributes:
        library: The HTTP library that it imports.
        uses: What it takes from that library to make calls.
        caller: The name whose `get` makes each call.
        client: Its class with the method `_request`.
    """

    library: str
    uses: str
    caller: str
    client: str


WAYS = {
    "keepa.keepa_sync": Way("requests", "get", "requests", "Keepa"),
    "keepa.keepa_async": Way("aiohttp", "ClientSession", "session", "AsyncKeepa"),
}


@dataclass(frozen=True)
class Half:
    """One of keepa's two clients, and its parts as they were found."""

    module: Any
    library_name: str
    library: Any
    client: Any
    request: Any

    def replace(self, library: Any, request: Any) -> None:
        """Put other parts in."""
        setattr(self.module, self.library_name, library)
        self.client._request = request  # noqa: SLF001 - the one place where keepa waits

    def restore(self) -> None:
        """Put the stock parts back."""
        self.replace(self.library, self.request)


def find_stock() -> tuple[Half, Half]:
    """Import keepa; return its sync and its async half. NotRouted: missing, or different inside."""
    try:
        modules = {name: importlib.import_module(name) for name in WAYS}
    except ImportError as error:
        raise NotRouted(f"keepa {_version()} does not import as keepa 1.6 does: {error}") from error
    try:
        sync_half, async_half = (_find_half(modules[name], way) for name, way in WAYS.items())
        _check_no_other_calls(modules["keepa.keepa_sync"])
    except (_Different, AttributeError) as error:
        raise NotRouted(
            f"keepa {_version()} is not built as keepa 1.6 is, and might call Keepa itself: {error}"
        ) from error
    return sync_half, async_half


def _find_half(module: Any, way: Way) -> Half:
    library, client = getattr(module, way.library), getattr(module, way.client)
    half = Half(module, way.library, library, client, client._request)  # noqa: SLF001
    if library is not importlib.import_module(way.library):
        raise _Different(f"{module.__name__}.{way.library} has been replaced already")
    if tuple(inspect.signature(half.request).parameters) != _REQUEST:
        raise _Different(f"{way.client}._request takes other parameters")
    check_calls(_source(module), way)
    return half


class _Different(Exception):
    """What is not as in the keepa that is known."""


def check_calls(source: str, way: Way) -> None:
    """Check that a module's source names Keepa in calls of `<caller>.get` only."""
    tree = ast.parse(source)
    if _attributes(tree, way.library) - {"Response"} != {way.uses}:
        raise _Different(f"it does not use {way.library}.{way.uses}, or more than that")
    if _attributes(tree, way.caller) - {"Response"} != {"get"}:
        raise _Different(f"it makes calls by more than {way.caller}.get")
    called = [
        node.args[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and node.args and _is_get(node.func, way.caller)
    ]
    inside = sum(len(list(_addresses(target))) for target in called)
    if not inside or inside != len(list(_addresses(tree))):
        raise _Different(f"it names {KEEPA} elsewhere than in {way.caller}.get")


def _attributes(tree: ast.AST, name: str) -> set[str]:
    """Return what is taken from a name by a dot."""
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == name
    }


def _is_get(function: ast.expr, caller: str) -> bool:
    return (
        isinstance(function, ast.Attribute)
        and function.attr == "get"
        and isinstance(function.value, ast.Name)
        and function.value.id == caller
    )


def _addresses(tree: ast.AST) -> Iterator[str]:
    """Yield each text in the code that begins as an address."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if node.value.startswith(KEEPA):
                yield node.value
            elif node.value.startswith(("http:", "https:")):
                raise _Different(f"it makes calls to {node.value}")


def _source(module: ModuleType) -> str:
    try:
        return inspect.getsource(module)
    except OSError as error:
        raise _Different(f"the source of {module.__name__} is not there to be read") from error


def _check_no_other_calls(module: ModuleType) -> None:
    """Check that no other file of the package names Keepa's address."""
    known = {f"{name.rpartition('.')[2]}.py" for name in WAYS}
    folder = Path(str(module.__file__)).parent
    for path in sorted(folder.rglob("*.py")):
        if path.name not in known and KEEPA in path.read_text(encoding="utf-8"):
            raise _Different(f"{path.name} names {KEEPA} too")


def _version() -> str:
    try:
        return importlib.metadata.version("keepa")
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"
