"""A Dockerfile, read and carried out by hand: a folder is the root of each stage's file system.

Just what ours uses. Where it is not as with an engine: the image's Python is a virtual environment
of the Python that runs the tests, and paths in RUN and ENV are put below the stage's folder by
their text.
"""

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

# What a command needs of the machine to reach its packages.
_OF_THE_MACHINE = re.compile(r"PIP_\w+|SSL_CERT_\w+|(?i:https?_proxy|no_proxy)|LANG")
# An absolute path: not the rest of a relative one, nor what stands in quotes.
_PATH = re.compile(r"(?<![^\s=:])/(?=\w)")


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


@dataclass
class Stage:
    """What a stage comes to."""

    root: Path
    environment: dict[str, str]
    workdir: str = "/"
    settled: dict[str, Step] = field(default_factory=dict)
    """Instructions that say what is to be run, by their word; the last one counts."""

    def place(self, path: str) -> Path:
        """Return where a path of the image is."""
        return self.root / (Path(self.workdir) / path).relative_to("/")

    def find(self, program: str) -> str:
        """Return where a program is by the image's own PATH."""
        found = shutil.which(program, path=self.environment["PATH"])
        assert found, program
        return found

    def localise(self, text: str) -> str:
        """Put every absolute path in a text below the root."""
        return _PATH.sub(f"{self.root}/", text)


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


def build(context: Context, python: Path, folder: Path) -> Stage:
    """Carry out all steps; return the last stage.

    Args:
        context: Has the Dockerfile; COPY takes from there, through `.dockerignore`.
        python: The folder with the programs of the image's Python.
        folder: Gets a folder for each stage, `stage-0` and so on.
    """
    stages: dict[str, Stage] = {}
    for step in read_steps((context.folder / "Dockerfile").read_text(encoding="utf-8")):
        match step.word:
            case "FROM":
                name = step.words[-1]
                system = {k: v for k, v in os.environ.items() if _OF_THE_MACHINE.fullmatch(k)}
                path = f"{python}:/usr/bin:/bin"
                stage = Stage(folder / f"stage-{len(stages)}", {**system, "PATH": path})
                stages[name] = stage
                stage.root.mkdir()
            case "ENV":
                for key, value in step.pairs.items():
                    # The machine's own programs stay where they are.
                    new = stage.localise(value).replace("$PATH", stage.environment["PATH"])
                    stage.environment[key] = new
            case "WORKDIR":
                stage.workdir = step.rest
                stage.place(".").mkdir(parents=True, exist_ok=True)
            case "COPY":
                _copy(step, stage, stages, context)
            case "RUN":
                _run(step, stage)
            case _:
                stage.settled[step.word] = step
    return stage


def _copy(step: Step, stage: Stage, stages: dict[str, Stage], context: Context) -> None:
    *sources, target = step.words
    goal = stage.place(target)
    if sources[0].startswith("--from="):
        source = stages[sources[0].removeprefix("--from=")].place(sources[1])
        shutil.copytree(source, goal, symlinks=True)
        return
    for source in sources:
        found = context.find(source)
        assert found, f"not in the context: {source}"
        for path in found:
            # A file keeps its name, of a folder the content goes into the target.
            name = path.name if str(path) == source else path.relative_to(source)
            place = goal / name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(context.folder / path, place)


def _run(step: Step, stage: Stage) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", stage.localise(step.rest)],
        cwd=stage.place("."),
        env={**stage.environment, "HOME": str(stage.root)},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{step.rest}\n{done.stdout}"
