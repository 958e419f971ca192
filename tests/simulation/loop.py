"""An event loop on virtual time: when nothing is ready, its clock jumps to the next timer.

Every callback runs in the context of the node (a machine of the story) that it belongs to, so that
a node can be killed as SIGKILL does: none of its callbacks, timers and tasks ever runs again, not
even their `finally`; or stopped and continued as by SIGSTOP and SIGCONT.
"""

import asyncio
import contextvars
import gc
import heapq
import sys
from collections.abc import Callable
from random import Random
from typing import Any

NODE: contextvars.ContextVar[str] = contextvars.ContextVar("node", default="story")
# What the monotonic clock says when a story begins; never 0, which code takes for "not yet".
START = 1000.0
TURNS_AT_ONE_MOMENT = 200_000


class Stuck(Exception):
    """Nothing is ready and no timer is set, or time does not move on."""


class _Selector:
    """Waits for nothing but time."""

    def __init__(self, loop: "VirtualLoop") -> None:
        self._loop = loop
        self._turns = 0

    def select(self, timeout: float | None) -> tuple[()]:
        if timeout is None:
            raise Stuck("nothing will ever happen any more")
        if timeout > 0:
            self._turns = 0
            # Exactly the timer's time: adding the time-out would round.
            self._loop.now = max(self._loop.now, self._loop._scheduled[0]._when)
        else:
            self._turns += 1
            if self._turns > TURNS_AT_ONE_MOMENT:
                raise Stuck("time stands still: something spins")
        return ()

    def close(self) -> None:
        pass


class VirtualLoop(asyncio.BaseEventLoop):
    """The loop.

    Attributes:
        now: Monotonic seconds.
        network: Makes connections; whoever plays the story sets it.
        faults: Contexts of exceptions that nobody caught.
    """

    def __init__(self, chance: Random) -> None:
        super().__init__()
        self.now = START
        self.network: Any = None
        self.faults: list[dict[str, Any]] = []
        self._chance = chance
        self._selector = _Selector(self)
        self._clock_resolution = 1e-9
        self._alive: dict[str, dict[asyncio.Task[Any], None]] = {}
        # A task that is collected runs its `finally`.
        self._graveyard: list[Any] = []
        self._stopped: dict[str, list[Any]] = {}
        self._to_stop: list[str] = []
        self.set_exception_handler(lambda _, context: self.faults.append(context))

    def time(self) -> float:
        return self.now

    def _process_events(self, events: Any) -> None:
        pass

    def _write_to_self(self) -> None:
        pass

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:
        """Work in one go, a while later: there are no threads."""
        if executor is not None and getattr(executor, "_shutdown", False):
            raise RuntimeError("cannot schedule new futures after shutdown")
        done = self.create_future()

        def do() -> None:
            if done.cancelled():
                return
            try:
                result = func(*args)
            except BaseException as error:  # noqa: BLE001 - the future's
                done.set_exception(error)
            else:
                done.set_result(result)

        self.call_later(self._chance.uniform(0.0001, 0.003), do)
        return done

    # --- nodes ---
    def create_task(self, coro: Any, *, name: Any = None, context: Any = None) -> Any:
        task = super().create_task(coro, name=name, context=context)
        node = context.get(NODE, "story") if context is not None else NODE.get()
        tasks = self._alive.setdefault(node, {})
        tasks[task] = None
        task.add_done_callback(lambda done: tasks.pop(done, None))
        return task

    def on_node(self, node: str, work: Any) -> Any:
        """Run a coroutine as a process of that machine."""
        context = contextvars.copy_context()
        context.run(NODE.set, node)
        return self.create_task(work, context=context)

    def tasks_of(self, node: str) -> list[Any]:
        return list(self._alive.get(node, ()))

    def kill(self, node: str) -> None:
        """End a node's process as SIGKILL would; its connections are the network's to reset."""
        dead = self._alive.pop(node, {})
        for task in dead:
            task._log_destroy_pending = False
        self._graveyard.append(dead)
        for handle in [*self._ready, *self._scheduled]:
            if handle._cancelled or handle._context.get(NODE, "story") != node:
                continue
            # Not cancel(), which would let go of what is kept.
            self._graveyard.append((handle._callback, handle._args))
            handle._cancelled = True
        self._graveyard.append(self._stopped.pop(node, None))
        self._timer_cancelled_count = sum(handle._cancelled for handle in self._scheduled)

    def stop_node(self, node: str) -> None:
        """Stop a node's process as SIGSTOP does, from the next turn on: what is due there waits."""
        self._to_stop.append(node)
        # Nothing may be taken out of what is ready while a turn goes through it.
        self._run_once = self._stop_and_run_once  # type: ignore[method-assign]

    def _stop_and_run_once(self) -> None:
        del self._run_once
        while self._to_stop:
            self._set_aside(self._to_stop.pop(0))
        # Only as long as a node is stopped, for each call through here takes time.
        self.call_soon = self._call_soon_or_later  # type: ignore[method-assign]
        self.call_at = self._call_at_or_later  # type: ignore[method-assign]
        self._run_once()

    def _set_aside(self, node: str) -> None:
        aside = self._stopped.setdefault(node, [])
        for handles in (self._ready, self._scheduled):
            own = [h for h in handles if h._context.get(NODE, "story") == node]
            for handle in own:
                if not handle._cancelled:
                    aside.append(handle)
                    handles.remove(handle)
        heapq.heapify(self._scheduled)

    def continue_node(self, node: str) -> None:
        """Continue it: what became due meanwhile runs now, in its order."""
        if node in self._to_stop:
            self._to_stop.remove(node)
        aside = self._stopped.pop(node, [])
        if not self._stopped:
            vars(self).pop("call_soon", None)
            vars(self).pop("call_at", None)
        for handle in aside:
            if handle._cancelled:
                continue
            if isinstance(handle, asyncio.TimerHandle):
                heapq.heappush(self._scheduled, handle)
                handle._scheduled = True
            else:
                self._ready.append(handle)

    def _call_soon_or_later(self, callback: Any, *args: Any, context: Any = None) -> Any:
        node = context.get(NODE, "story") if context is not None else NODE.get()
        aside = self._stopped.get(node)
        if aside is None:
            return super().call_soon(callback, *args, context=context)
        handle = asyncio.Handle(callback, args, self, context)
        aside.append(handle)
        return handle

    def _call_at_or_later(self, when: float, callback: Any, *args: Any, context: Any = None) -> Any:
        node = context.get(NODE, "story") if context is not None else NODE.get()
        aside = self._stopped.get(node)
        if aside is None:
            return super().call_at(when, callback, *args, context=context)
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        aside.append(handle)
        return handle

    def bury(self) -> None:
        """Let go of what was killed: its `finally` runs now, in vain."""
        hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
        for node in list(self._alive):
            self.kill(node)
        self.set_exception_handler(lambda *_: None)
        self.close()
        self._graveyard.clear()
        self._alive.clear()
        self._stopped.clear()
        self.network = None
        gc.collect()
        sys.unraisablehook = hook

    # --- network ---
    async def create_connection(  # type: ignore[override]
        self, protocol_factory: Any, host: Any = None, port: Any = None, **_: Any
    ) -> Any:
        return await self.network.connect(protocol_factory, host, port)

    async def create_server(  # type: ignore[override]
        self, protocol_factory: Any, host: Any = None, port: Any = None, **_: Any
    ) -> Any:
        return self.network.listen(protocol_factory, host, port)
