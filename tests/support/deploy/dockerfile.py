"""A Dockerfile's instructions, and the files that its COPY may take."""

import json
import re
from pathlib import Path
from typing import NamedTuple


class Step(NamedTuple):
    """One instruction."""

    word: str
    rest: str

    @property
    def words(self) -> list[str]:
        """The words of an exec form, or those between blanks."""
        if self.rest.startswith("["):
            return json.loads(self.rest)
        return self.rest.split()

    @property
    def pairs(self) -> dict[str, str]:
        """What ENV and LABEL say."""
        found = re.findall(r'([\w.]+)=(?:"([^"]*)"|(\S+))', self.rest)
        return {name: quoted or bare for name, quoted, bare in found}


def read_steps(text: str) -> list[Step]:
    """Return the instructions of a Dockerfile, each on one line."""
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n\s*", " ", lines)
    return [Step(*line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]


class Context:
    """The folder that COPY takes from, and what `.dockerignore` lets through of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._rules: list[tuple[bool, re.Pattern[str]]] = []
        for line in (folder / ".dockerignore").read_text(encoding="utf-8").splitlines():
            if line and not line.startswith("#"):
                # One star is within a name, two and a slash are any number of folders.
                shape = re.escape(line.lstrip("!")).replace(r"\*\*/", "(?:.*/)?")
                rule = re.compile(shape.replace(r"\*", "[^/]*"))
                self._rules.append((line.startswith("!"), rule))

    def find(self, source: str) -> list[Path]:
        """Return the files that a source of COPY means, relative to the folder."""
        top = self.folder / source
        files = [path.relative_to(self.folder) for path in (top, *top.rglob("*")) if path.is_file()]
        return [path for path in files if self._lets(path)]

    def _lets(self, path: Path) -> bool:
        # A rule on a folder is one on what is in it; the last rule that fits counts.
        own = [str(path), *map(str, path.parents[:-1])]
        fitting = [lets for lets, shape in self._rules if any(map(shape.fullmatch, own))]
        return not fitting or fitting[-1]
