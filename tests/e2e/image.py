"""The image without an engine: what the Dockerfile's steps leave, in folders.

Just the instructions that ours has. Unlike with an engine, the image's Python is a virtual
environment of the Python that runs the tests, and absolute paths in RUN and ENV are put below the
stage's folder by their text. (An engine that needs no daemon, buildah, would want a base image,
which no package registry has.)
"""

import os
import re
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass, field
from pathlib import Path

from support.deploy.dockerfile import Context, Step, read_steps

# An absolute path: not the rest of a relative one, nor what stands in quotes.
_PATH = re.compile(r"(?<![^\s=:])/(?=\w)")
_PIP = """\
#!/bin/sh
exec {tests} -m pip --python {python} "$@"
"""


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


def build(context: Context, folder: Path) -> Stage:
    """Carry out all steps; return the last stage.

    Args:
        context: Has the Dockerfile; COPY takes from there, through `.dockerignore`.
        folder: Gets a folder for each stage, and `python`, which the image begins with.
    """
    programs = _make_python(folder / "python")
    stages: dict[str, Stage] = {}
    for step in read_steps((context.folder / "Dockerfile").read_text(encoding="utf-8")):
        match step.word:
            case "FROM":
                # Settings of the machine's pip stay, those of its Python do not.
                system = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
                path = f"{programs}:/usr/bin:/bin"
                stage = Stage(folder / f"stage-{len(stages)}", {**system, "PATH": path})
                stages[step.words[-1]] = stage
                stage.root.mkdir()
            case "ENV":
                for key, value in step.pairs.items():
                    # The machine's own programs stay where they are.
                    new = stage.localise(value).replace("$PATH", stage.environment["PATH"])
                    stage.environment[key] = new
            case "WORKDIR":
                stage.workdir = step.rest
                stage.place(".").mkdir(parents=True, exist_ok=True)
            case "COPY" if step.words[0].startswith("--from="):
                stage_name, source, target = step.words
                other = stages[stage_name.removeprefix("--from=")]
                # Of the other stage nothing else may be needed.
                goal = stage.place(target)
                goal.parent.mkdir(parents=True, exist_ok=True)
                other.place(source).rename(goal)
                shutil.rmtree(other.root)
            case "COPY":
                _copy(step, stage, context)
            case "RUN":
                _run(step, stage)
            case _:
                stage.settled[step.word] = step
    return stage


def _make_python(folder: Path) -> Path:
    """Make the Python that the base image has; return the folder of its programs."""
    venv.create(folder, symlinks=True)
    programs = folder / "bin"
    # The pip of these tests, which need no second one.
    pip = programs / "pip"
    pip.write_text(_PIP.format(tests=sys.executable, python=programs / "python"))
    pip.chmod(0o755)
    return programs


def _copy(step: Step, stage: Stage, context: Context) -> None:
    *sources, target = step.words
    for source in sources:
        found = context.find(source)
        assert found, f"not in the context: {source}"
        for path in found:
            # A file keeps its name, of a folder the content goes into the target.
            name = path.name if str(path) == source else path.relative_to(source)
            place = stage.place(target) / name
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
