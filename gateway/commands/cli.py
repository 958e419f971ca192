"""`keepa-gateway COMMAND`: reads the arguments and runs one command."""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from gateway import __version__
from gateway.errors import BadSetting

BAD_SETTING = 2
"""The exit code."""

# Each has a module of its name, with `add_options(parser)` and `run(options) -> exit code`.
_COMMANDS = {
    "serve": "run the gateway; settings from the environment",
    "check": "read the settings, reach the store and Keepa",
    "usage": "ask a running gateway who used how much",
    "demo": "see it work: twenty seconds of three services on one key; PORT: any free one",
    "simulate": "run the built-in Keepa simulator",
}
_POSIX_ONLY = {"serve", "simulate", "demo"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code: 0 done, 1 failed, 2 a bad setting or argument."""
    options = read_arguments(sys.argv[1:] if arguments is None else arguments)
    if options.command in _POSIX_ONLY and os.name != "posix":
        # Without its signals and descriptor limits no promise about stops and crowds holds.
        print(
            "this command runs on Linux, macOS and other POSIX systems; "
            "on Windows use WSL or a container",
            file=sys.stderr,
        )
        return 1
    try:
        return int(options.run(options))
    except BadSetting as error:
        print(error, file=sys.stderr)
        return BAD_SETTING
    except OSError as error:
        # The port is taken, the address is not this machine's.
        print(f"{type(error).__name__}: {error.strerror or error}", file=sys.stderr)
        return 1


def read_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options, with `command` and its `run`; wrong arguments end the process.

    Only the module of the command is imported: the simulator starts in a third of the time that
    the whole gateway takes.
    """
    parser = argparse.ArgumentParser(
        prog="keepa-gateway", description="One Keepa token budget for many services."
    )
    parser.add_argument("--version", action="version", version=f"keepa-gateway {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    for name, help_text in _COMMANDS.items():
        command = commands.add_parser(name, help=help_text)
        if name in arguments[:1]:
            module = import_module(f"gateway.commands.{name}")
            module.add_options(command)
            command.set_defaults(run=module.run)
    return parser.parse_args(arguments)
