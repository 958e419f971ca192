"""The gateway as `keepa-gateway serve` runs it, on a free port, its log into a file of nobody's.

With a file as argument its event loop is watched, and SIGUSR1 has it write there what was found.
That costs a microsecond or two a callback: for a run whose speed does not count.
"""

import asyncio
import os
import sys
from contextlib import ExitStack
from pathlib import Path

from support.measure.loop_watch import LoopWatch, tell_into

from gateway.app import serving, settle_memory
from gateway.log import set_up_logging
from gateway.settings import read_settings


async def main() -> None:
    settings = read_settings(None).model_copy(update={"port": 0})
    url_out = os.fdopen(os.dup(1), "w")
    # The lines are written as in production, only to /dev/null.
    sys.stdout = open(os.devnull, "w")  # noqa: ASYNC230, PTH123, SIM115 - open for the whole life
    set_up_logging(settings.log_level, settings.log_format, settings.secrets)
    async with serving(settings) as url:
        settle_memory()
        print(url, file=url_out, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    with ExitStack() as stack:
        if sys.argv[1:]:
            tell_into(Path(sys.argv[1]), stack.enter_context(LoopWatch()))
        asyncio.run(main())
