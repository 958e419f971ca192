"""The project's pages in Markdown, taken apart: headings, links, code blocks, commands."""

import json
import re
import shlex
import textwrap
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

from support import ROOT

# Not what pip, pytest and others leave in hidden folders.
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("[!.]*/**/*.md")])

_FENCE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_EXAMPLE = re.compile(r"^\$ ((?:.*\\\n)*.*)\n?((?:(?!\$ ).*(?:\n|\Z))*)", re.MULTILINE)
_INLINE_CODE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_LINK = re.compile(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"|^\[[^\]]+\]: (\S+)", re.MULTILINE)
_HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)
_COMMENT = re.compile(r"(?:^|(?<=\s))#.*$", re.MULTILINE)
_OUTSIDE = re.compile(r"[a-z]+:")
# In a fragment of JSON `...` stands for a value, or for further members or elements.
_LEFT_OUT_VALUE = re.compile(r"(:\s*)\.\.\.")
_LEFT_OUT_REST = re.compile(r",\s*\.\.\.(?=\s*[\]}])|(?<=[\[{])\s*\.\.\.\s*,?")


class Block(NamedTuple):
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    text: str

    @property
    def name(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def examples(self) -> list[tuple[str, str]]:
        """Each command of a `console` block, which stands behind a `$`, with its output."""
        found = _EXAMPLE.findall(self.text)
        return [(command.replace("\\\n", " "), output) for command, output in found]

    @property
    def shell(self) -> str:
        """What a shell reads of it."""
        if self.language == "console":
            return "\n".join(command for command, _ in self.examples)
        return self.text.replace("\\\n", " ") if self.language == "sh" else ""


def read_blocks(page: Path) -> list[Block]:
    """Return all fenced blocks of a page."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, text.count("\n", 0, found.start()) + 1, found[2], textwrap.dedent(found[3]))
        for found in _FENCE.finditer(text)
    ]


def read_prose(page: Path) -> str:
    """Return a page without its fenced blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def read_inline_code(page: Path) -> list[str]:
    """Return what stands between single backticks."""
    return _INLINE_CODE.findall(read_prose(page))


def name_anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub names them."""
    anchors: Counter[str] = Counter()
    names = set()
    for heading in _HEADING.findall(read_prose(page)):
        plain = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        anchor = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        names.add(f"{anchor}-{anchors[anchor]}" if anchors[anchor] else anchor)
        anchors[anchor] += 1
    return names


def read_links(page: Path) -> Iterator[tuple[Path, str]]:
    """Yield the file and the anchor (may be empty) of each link that stays inside the project."""
    prose = _INLINE_CODE.sub("", read_prose(page))
    for found in _LINK.finditer(prose):
        target = next(filter(None, found.groups()))
        if not _OUTSIDE.match(target):
            path, _, anchor = target.partition("#")
            yield (page.parent / unquote(path) if path else page), anchor


def read_fragment(text: str) -> Any:
    """Return what JSON says in which `...` may stand for what is left out."""
    return json.loads(_LEFT_OUT_REST.sub("", _LEFT_OUT_VALUE.sub(r"\1null", text)))


def split_commands(text: str) -> list[list[str]]:
    """Return the words of each command of a shell's text, assignments first."""
    lexer = shlex.shlex(_COMMENT.sub("", text), posix=True, punctuation_chars=";&|()<>\n")
    lexer.whitespace_split = True
    lexer.whitespace = " \t"
    lexer.commenters = ""
    commands: list[list[str]] = [[]]
    for word in lexer:
        if word[0] in ";&|()<>\n":
            commands.append([])
        else:
            commands[-1].append(word)
    return [words for words in commands if words]
