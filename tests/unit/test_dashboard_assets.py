"""What the dashboard is made of: nothing from elsewhere, nothing inline, readable colours."""

import re
from importlib.resources import files

import pytest

ASSETS = {
    entry.name: entry.read_bytes()
    for entry in (files("gateway.views.dashboard") / "assets").iterdir()
}
OWN = sorted(
    name for name in ASSETS if name.endswith((".html", ".css", ".js")) and "uplot" not in name
)


def text(name):
    return ASSETS[name].decode()


@pytest.mark.parametrize("name", sorted(set(ASSETS) - {"icon.png"}))
def test_no_outside_address(name):
    """No file of the page names another host."""
    assert not re.search(r"https?://|//[a-z0-9-]+\.[a-z]|@import|url\(", text(name))


@pytest.mark.parametrize("name", [name for name in OWN if name.endswith(".html")])
def test_nothing_inline(name):
    """No page has a script, a style or a handler of its own: the policy forbids them."""
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", text(name))
    assert all(" src=" in tag for tag in re.findall(r"<script[^>]*>", text(name)))
    assert not re.search(r"<script[^>]*>[^<]", text(name))


@pytest.mark.parametrize("name", [name for name in OWN if name.endswith(".js")])
def test_texts_are_never_read_as_html(name):
    """Callers choose their services' names: nothing makes HTML of a text."""
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text(name)
    )


def test_plotting_library_has_its_licence_beside_it():
    """What others wrote is served with its licence."""
    assert "MIT License" in text("uplot.LICENSE.txt")
    assert "Leon Sorokin" in text("uplot.LICENSE.txt")
    assert text("uplot.js").startswith("/*! uPlot 1.6.32, MIT licence: see uplot.LICENSE.txt */")


@pytest.mark.parametrize("name", [name for name in OWN if name.endswith(".html")])
def test_what_pages_name_is_there(name):
    """Every script, style and icon that a page asks for is in the package."""
    named = re.findall(r'(?:src|href)="(?:dashboard/|\$\{here\})?([\w.-]+\.\w+)"', text(name))
    assert named
    for target in named:
        assert target in ASSETS


def test_each_element_that_the_script_looks_for_is_there():
    """Every id that a script asks for stands in the page once."""
    page = text("dashboard.html")
    asked = set()
    for name in ("dashboard.js", "charts.js", "tables.js"):
        asked |= set(re.findall(r'(?:\bat|getElementById|how|box)\("([\w-]+)"', text(name)))
    assert len(asked) > 40
    assert [name for name in asked if page.count(f'id="{name}"') != 1] == []


def palettes():
    light, dark = re.findall(r":root \{(.*?)\}", text("dashboard.css"), re.DOTALL)
    read = [dict(re.findall(r"--([\w-]+): (#\w{6});", block)) for block in (light, dark)]
    return {"light": read[0], "dark": read[0] | read[1]}


def luminance(colour):
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_is_enough(scheme):
    """Text has a contrast of 4.5 with what is behind it, lines and marks one of 3 (WCAG AA)."""
    colours = palettes()[scheme]
    for text_, behind in [
        ("text", "page"), ("text", "card"), ("text", "track"), ("quiet", "page"), ("quiet", "card"),
        ("text", "good-back"), ("text", "warn-back"), ("text", "bad-back"), ("text", "info-back"),
        ("good", "good-back"), ("warn", "warn-back"), ("bad", "bad-back"), ("quiet", "warn-back"),
        ("good", "card"), ("warn", "card"), ("bad", "card"), ("floor", "card"), ("buffer", "card"),
        ("card", "available"),
    ]:  # fmt: skip
        assert contrast(colours[text_], colours[behind]) >= 4.5, (text_, behind)
    for line, behind in [
        ("available", "card"), ("held", "card"), ("used", "card"), ("available", "track"),
        ("held", "track"), ("floor", "track"), ("buffer", "track"), ("focus", "page"),
    ]:  # fmt: skip
        assert contrast(colours[line], colours[behind]) >= 3, (line, behind)
