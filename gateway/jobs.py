"""Background jobs: each runs for ever, and is restarted after a crash."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any

import structlog

_log: Any = structlog.get_logger(__name__)

Job = Callable[[], Coroutine[Any, Any, None]]

# A job that crashes so often within the window has a cause that restarts do not cure.
CRASHES_AT_MOST = 5
_WINDOW_SECONDS = 60.0
# Before the first restart; doubled for each further crash within the window.
_PAUSE_SECONDS = 0.25


@asynccontextmanager
async def in_background(
    jobs: Mapping[str, Job], on_restart: Callable[[str], None], give_up: Callable[[], None]
) -> AsyncIterator[None]:
    """Run jobs until the end of the block.

    Args:
        jobs: By name. They run for ever: one that returns counts as crashed.
        on_restart: Called with the job's name.
        give_up: Called when a job keeps crashing, to end the process. Until then the job is still
            restarted, for calls in flight may need it.
    """
    running = [
        asyncio.create_task(_keep_running(name, job, on_restart, give_up), name=name)
        for name, job in jobs.items()
    ]
    try:
        yield
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _keep_running(
    name: str, job: Job, on_restart: Callable[[str], None], give_up: Callable[[], None]
) -> None:
    clock = asyncio.get_running_loop().time
    crashes: deque[float] = deque(maxlen=CRASHES_AT_MOST)
    while True:
        task = asyncio.current_task()
        error: BaseException | None = None
        try:
            await job()
        except asyncio.CancelledError as cancelled:
            if task is None or task.cancelling():
                raise
            # Not this job was cancelled, but a task that it waited for.
            error = cancelled
        except Exception as failure:  # noqa: BLE001 - whatever it was, it is logged
            error = failure
        now = clock()
        crashes.append(now)
        recent = sum(now - crashed_at < _WINDOW_SECONDS for crashed_at in crashes)
        _log.critical("job_crashed", job=name, crashes_in_a_minute=recent, exc_info=error)
        if recent == CRASHES_AT_MOST:
            _log.critical("job_keeps_crashing", job=name, hint="the process ends")
            give_up()
        await asyncio.sleep(_PAUSE_SECONDS * 2 ** (recent - 1))
        on_restart(name)
