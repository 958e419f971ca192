"""A command of `keepa-gateway` that is run in this process: a tenth of what a process takes."""

import asyncio
import io
import os
from contextlib import redirect_stderr, redirect_stdout
from typing import NamedTuple
from unittest.mock import patch

from gateway.commands import cli


class Ended(NamedTuple):
    """What a command printed, and its exit code."""

    code: int
    output: str
    errors: str


def run_command(*arguments: str, **settings: object) -> Ended:
    """Run a command to its end, with these settings as its whole environment."""
    chosen = {name.upper(): str(value) for name, value in settings.items()}
    with (
        patch.dict(os.environ, chosen, clear=True),
        redirect_stdout(io.StringIO()) as output,
        redirect_stderr(io.StringIO()) as errors,
    ):
        code = cli.main(arguments)
    return Ended(code, output.getvalue(), errors.getvalue())


async def run_beside(*arguments: str, **settings: object) -> Ended:
    """Run a command in a thread, beside the servers of this one's loop."""
    return await asyncio.to_thread(run_command, *arguments, **settings)
