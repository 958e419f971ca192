"""`python -m gateway.client script.py`: run it with `keepa` routed to the gateway."""

import os
import runpy
import sys
from pathlib import Path

from gateway.client import NotRouted, install

_USAGE = """\
usage: python -m gateway.client script.py [argument ...]
       python -m gateway.client -m module [argument ...]

Runs a Python program with the stock keepa package routed to a gateway.

  KEEPA_BASE_URL  the gateway, as http://gateway:8080
  KEEPA_WAIT      false: a refusal is raised at once instead of slept on; default true
  REQUESTS_CA_BUNDLE or SSL_CERT_FILE  certificates to check an https gateway's against
"""
_BAD_USAGE = 2
_WORDS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def main(arguments: list[str]) -> int:
    """Run the program that the arguments name; return 2 where it could not be begun."""
    if arguments[:1] in (["-h"], ["--help"]):
        sys.stdout.write(_USAGE)
        return 0
    is_module = arguments[:1] == ["-m"]
    program = arguments[1:] if is_module else arguments
    if not program or (arguments[0].startswith("-") and not is_module):
        sys.stderr.write(_USAGE)
        return _BAD_USAGE
    if not is_module and not Path(program[0]).exists():
        sys.stderr.write(f"There is no {program[0]}\n")
        return _BAD_USAGE
    try:
        install(wait=_wait())
    except NotRouted as error:
        sys.stderr.write(f"{error}\n")
        return _BAD_USAGE
    sys.argv = program
    if is_module:
        runpy.run_module(program[0], run_name="__main__", alter_sys=True)
    else:
        if not sys.flags.safe_path:
            # As `python script.py` has it: until now it was the current folder.
            sys.path[0] = str(Path(program[0]).resolve().parent)
        runpy.run_path(program[0], run_name="__main__")
    return 0


def _wait() -> bool:
    word = os.environ.get("KEEPA_WAIT", "true")
    if word.lower() not in _WORDS:
        raise NotRouted(f"KEEPA_WAIT={word}: it has to be true or false")
    return _WORDS[word.lower()]


sys.exit(main(sys.argv[1:]))
