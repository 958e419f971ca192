"""`keepa-via-gateway script.py`: run a program with `keepa` routed to a gateway."""

import argparse
import os
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

from keepa_gateway_client.installation import install
from keepa_gateway_client.stock import NotRouted

_BAD_USAGE = 2
_EPILOG = """\
Each option stands for a variable of the environment, and the program's child processes inherit it:
  KEEPA_BASE_URL, KEEPA_SERVICE_NAME, KEEPA_SERVICE_KEY, KEEPA_WAIT (true, false),
  KEEPA_MAX_WAIT_SECONDS
The key is better there: other users of the machine can read a command's arguments.
REQUESTS_CA_BUNDLE or SSL_CERT_FILE has certificates to check an https gateway's against.
"""
_VARIABLES = {
    "url": "KEEPA_BASE_URL",
    "service": "KEEPA_SERVICE_NAME",
    "key": "KEEPA_SERVICE_KEY",
    "wait": "KEEPA_WAIT",
    "max_wait": "KEEPA_MAX_WAIT_SECONDS",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program that the arguments name; return 2 where it could not be begun."""
    options = _parser().parse_args(arguments)
    if not options.m and not Path(options.program).exists():
        sys.stderr.write(f"There is no {options.program}\n")
        return _BAD_USAGE
    for name, variable in _VARIABLES.items():
        if getattr(options, name) is not None:
            os.environ[variable] = getattr(options, name)
    try:
        install()
    except NotRouted as error:
        sys.stderr.write(f"{error}\n")
        return _BAD_USAGE
    _run(options.program, options.arguments, is_module=options.m)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="keepa-via-gateway",
        description="Run a Python program with the stock keepa package routed to a gateway.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--url", help="the gateway, as http://gateway:8080")
    parser.add_argument("--service", metavar="NAME", help="name the service by X-Service-Name")
    parser.add_argument("--key", help="the service's key, in place of the one the program has")
    parser.add_argument(
        "--no-wait",
        dest="wait",
        action="store_const",
        const="false",
        help="raise a refusal at once instead of sleeping on it",
    )
    parser.add_argument(
        "--max-wait", metavar="SECONDS", help="sleep no longer than this on the refusals of a call"
    )
    parser.add_argument("-m", action="store_true", help="the program is a module's name")
    parser.add_argument("program", help="a script, or with -m a module")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="the program's own")
    return parser


def _run(program: str, arguments: list[str], *, is_module: bool) -> None:
    sys.argv = [program, *arguments]
    # As Python itself has it, which until now had this command's own folder there.
    folder = Path.cwd() if is_module else Path(program).resolve().parent
    if not sys.flags.safe_path:
        sys.path[0] = str(folder)
    if is_module:
        runpy.run_module(program, run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(program, run_name="__main__")
