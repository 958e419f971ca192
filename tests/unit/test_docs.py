"""What is written about the gateway is held to the gateway."""

import ast
import importlib
import importlib.util
import re
import shutil
import subprocess
from collections.abc import Callable
from itertools import dropwhile
from pathlib import Path

import pytest
import yaml
from pydantic import SecretStr
from support.deploy.prometheus import exposed_families, families_in
from support.docs import (
    PAGES,
    ROOT,
    Block,
    name_anchors,
    read_blocks,
    read_fragment,
    read_inline_code,
    read_links,
    read_prose,
    split_commands,
)

from gateway.commands import cli
from gateway.settings import Settings
from keepa_gateway_client import command

CONFIGURATION = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
EXAMPLE = (ROOT / ".env.example").read_text(encoding="utf-8")
BLOCKS = [block for page in PAGES for block in read_blocks(page)]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
GOALS = set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE))
SOURCES = [
    f"/{path.relative_to(ROOT)}"
    for folder in ("client", "gateway", "tests", "docs", "deploy", "*.md")
    for path in sorted([*ROOT.glob(folder), *ROOT.glob(f"{folder}/**/*")])
]
# In lower case, as headers may be written in any.
CODE = "".join(
    path.read_text(encoding="utf-8").lower() for path in sorted((ROOT / "gateway").rglob("*.py"))
)
# The settings, and what the files to deploy with ask for themselves.
VARIABLES = {name.upper() for name in Settings.model_fields}.union(
    *(
        re.findall(r"[A-Z][A-Z_]{3,}", path.read_text(encoding="utf-8"))
        for path in sorted((ROOT / "deploy").rglob("*"))
        if path.is_file() and path.suffix != ".md"
    )
)
# Names that the pages speak of and that are not the gateway's: of make, Python, the client module,
# curl, Java and Node.
FOREIGN = {
    "PYTHON", "SECONDS", "PYTHONPATH", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "KEEPA_WAIT",
    "KEEPA_SERVICE_NAME", "KEEPA_SERVICE_KEY", "KEEPA_MAX_WAIT_SECONDS", "CURL_CA_BUNDLE",
    "JAVA_TOOL_OPTIONS", "NOT_ENOUGH_TOKEN", "NODE_EXTRA_CA_CERTS",
    "HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "SEED", "HOURS", "PROFILE",
}  # fmt: skip
OURS = ("gateway", "keepa_gateway_client")
ASSIGNMENT = re.compile(r"([A-Z][A-Z0-9_]*)=")
COMMAND = re.compile(r"[A-Z_]+=|(?:make|\S*keepa-(?:via-)?gateway|python3? -m) ")

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
each_setting = pytest.mark.parametrize("name", Settings.model_fields)


def default_of(name: str) -> str:
    """Return a field's default as an operator would write it."""
    default = Settings.model_fields[name].get_default(call_default_factory=True)
    match default:
        case SecretStr() | None | "":
            return ""
        case bool():
            return str(default).lower()
        case float():
            return f"{default:g}"
        case dict():
            return "{}" if name == "endpoint_costs" else ""
        case _:
            return str(default)


@each_setting
def test_each_setting_is_in_its_table(name: str) -> None:
    """The table of docs/configuration.md has each variable with its default and meaning."""
    default = default_of(name)
    shown = f"`{default}`" if default else "empty"
    meaning = Settings.model_fields[name].description
    assert f"| `{name.upper()}` | {shown} | {meaning} |\n" in CONFIGURATION


@each_setting
def test_each_setting_is_in_the_example(name: str) -> None:
    """`.env.example` has each variable, commented out, with its default."""
    assert f"\n#{name.upper()}={default_of(name)}\n" in EXAMPLE


def test_nothing_else_is_documented_as_a_setting() -> None:
    """A variable that is gone is gone from its table and the example too."""
    documented = set(re.findall(r"^\| `([A-Z_]+)` \|", CONFIGURATION, re.MULTILINE))
    documented |= set(re.findall(r"^#([A-Z_]+)=", EXAMPLE, re.MULTILINE))
    assert documented == {name.upper() for name in Settings.model_fields}


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link of a page names a file that is there, and a heading of it."""
    for target, anchor in read_links(page):
        assert target.exists(), target
        assert not anchor or anchor in name_anchors(target), f"{target}#{anchor}"


@each_page
def test_files_that_are_named_are_there(page: Path) -> None:
    """A file that is named between backticks is there; its folders may be left out."""
    for code in read_inline_code(page):
        if re.fullmatch(r"[\w./-]+\.(py|lua|md)", code):
            assert any(path.endswith(f"/{code}") for path in SOURCES), code


def check_json(block: Block) -> None:
    """`...` may stand for what is left out."""
    read_fragment(block.text)


def check_shell(block: Block) -> None:
    assert block.shell, "no line begins with `$ `"
    subprocess.run(["bash", "-n"], input=block.shell, text=True, check=True)


def check_yaml(block: Block) -> None:
    list(yaml.safe_load_all(block.text))


def check_python(block: Block) -> None:
    """It can be compiled, and what it imports of ours is there."""
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(OURS):
            module = importlib.import_module(node.module or "")
            assert not [name.name for name in node.names if not hasattr(module, name.name)]
        elif isinstance(node, ast.Import):
            for name in node.names:
                assert not name.name.startswith(OURS) or importlib.import_module(name.name)


def check_php(block: Block) -> None:
    if not shutil.which("php"):
        pytest.skip("php is not on the path")
    subprocess.run(["php", "-l"], input=f"<?php {block.text}", text=True, check=True)


def check_elsewhere(block: Block) -> None:
    """`promql`: in test_metrics_docs.py; `text` is no code."""


CHECKS: dict[str, Callable[[Block], None]] = {
    "console": check_shell,
    "json": check_json,
    "php": check_php,
    "promql": check_elsewhere,
    "python": check_python,
    "sh": check_shell,
    "text": check_elsewhere,
    "yaml": check_yaml,
}


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.name)
def test_code_is_well_formed(block: Block) -> None:
    """Every block of code says which language it is in, and is good in it."""
    assert block.language in CHECKS, "a language that nothing here checks"
    CHECKS[block.language](block)


def commands_of(page: Path) -> list[list[str]]:
    """Return what a page would have people run, in blocks and between backticks."""
    texts = [block.shell for block in read_blocks(page)]
    texts += filter(COMMAND.match, read_inline_code(page))
    return [words for text in texts for words in split_commands(text)]


def understand(words: list[str]) -> None:
    """Fail where a command is one of ours and would not be understood."""
    match words:
        case ["make", *arguments]:
            assert {word for word in arguments if "=" not in word} <= GOALS, words
        case ["python" | "python3", "-m", module, *_] if module.split(".")[0] in OURS:
            assert importlib.util.find_spec(module), words
        case [program, *arguments] if Path(program).name == "keepa-gateway":
            if arguments not in ([], ["--help"], ["--version"]):
                cli.read_arguments(arguments)
        case [program, _, *_] if Path(program).name == "keepa-via-gateway":
            command._parser().parse_args(words[1:])


@each_page
def test_commands_are_understood(page: Path) -> None:
    """What a page has people run of ours has such a command, such options, such a goal of make."""
    for words in commands_of(page):
        understand(list(dropwhile(lambda word: ASSIGNMENT.match(word) or word == "exec", words)))


@each_page
def test_variables_are_settings(page: Path) -> None:
    """A variable that a page names, or has people set, is a setting, or known as another's."""
    named = {code for code in read_inline_code(page) if re.fullmatch(r"[A-Z]+(_[A-Z]+)+", code)}
    for words in commands_of(page):
        named |= {found[1] for word in words if (found := ASSIGNMENT.match(word))}
    own = set(re.findall(r"\$\{?(\w+)", "".join(block.shell for block in read_blocks(page))))
    assert named - own <= VARIABLES | FOREIGN


@each_page
def test_headers_and_metrics_are_the_gateways(page: Path) -> None:
    """A header of ours and a metric that a page names are those of the code."""
    prose = read_prose(page)
    assert not [name for name in re.findall(r"`(X-[\w-]+)", prose) if name.lower() not in CODE]
    # The client's module has a name like a metric's.
    assert families_in(prose.replace("keepa_gateway_client", "")) <= set(exposed_families())


def test_log_events_are_those_of_the_code() -> None:
    """docs/operations.md tells of each event of the log, and of no other."""
    page = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    _, _, table = page.partition("| event | level |")
    rows = re.findall(r"^\| (`.*?`) \| (?:info|warning|error|critical)", table, re.MULTILINE)
    told = set(re.findall(r"`(\w+)`", " ".join(rows)))
    logged = set(re.findall(r'_log\.\w+\(\s*"(\w+)"[,)\n]', CODE, re.IGNORECASE))
    assert logged <= {event.lower() for event in told}
    assert not [event for event in told if f'"{event.lower()}"' not in CODE]
