"""What is written about the gateway is held to the gateway."""

import re
from pathlib import Path

import pytest
from pydantic import SecretStr

from gateway.settings import Settings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLE = (ROOT / ".env.example").read_text(encoding="utf-8")
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md")])


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


@pytest.mark.parametrize("name", Settings.model_fields)
def test_each_setting_is_in_the_readme(name: str) -> None:
    """The README's table has each variable with its default and meaning."""
    default = default_of(name)
    shown = f"`{default}`" if default else "empty"
    meaning = Settings.model_fields[name].description
    assert f"| `{name.upper()}` | {shown} | {meaning} |\n" in README


@pytest.mark.parametrize("name", Settings.model_fields)
def test_each_setting_is_in_the_example(name: str) -> None:
    """`.env.example` has each variable, commented out, with its default."""
    assert f"\n#{name.upper()}={default_of(name)}\n" in EXAMPLE


def test_nothing_else_is_documented_as_a_setting() -> None:
    """A variable that is gone is gone from the README and the example too."""
    documented = set(re.findall(r"^\| `([A-Z_]+)` \|", README, re.MULTILINE))
    documented |= set(re.findall(r"^#([A-Z_]+)=", EXAMPLE, re.MULTILINE))
    assert documented == {name.upper() for name in Settings.model_fields}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link of a page names a file that is there."""
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target
