"""`keepa-gateway demo`: a simulated Keepa, a gateway, and three services that want all it has."""

import argparse
import asyncio
import itertools
import json
import time
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from http import HTTPStatus
from typing import Any

import aiohttp

from gateway.app import serving
from gateway.commands import demo_script as script
from gateway.commands.demo_script import Step
from gateway.commands.signals import end_signal
from gateway.commands.usage_table import ask_usage, draw_table
from gateway.log import set_up_logging
from gateway.settings import Settings, settings_apart
from gateway.simulator import RunningSimulator, start_simulator

# Slow enough to be read, and to be seen on the dashboard.
_PAUSE_SECONDS = 0.8
_TRAFFIC_PAUSE_SECONDS = 2.0
_READY_SECONDS = 10.0
_PATIENCE = aiohttp.ClientTimeout(total=90)
_HEADING = f"{'':>6}  {'service':9} {'call':34} {'answer':29} {'tokens':>6} {'balance':>7}"

Say = Callable[[str], None]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add whether the demo stays."""
    parser.add_argument(
        "--stay", action="store_true", help="keep the dashboard up, with some traffic, until Ctrl-C"
    )


def run(options: argparse.Namespace) -> int:
    """Play the demo; return the exit code."""
    # The demo prints what it shows; the log would hide it.
    set_up_logging("ERROR", "console", ())
    return 0 if asyncio.run(_run_until_signal(stay=options.stay)) else 1


async def _run_until_signal(*, stay: bool) -> bool:
    return await run_demo(partial(print, flush=True), end_signal(), stay=stay)


def demo_settings(keepa_url: str) -> Settings:
    """Return settings without a real key, store or webhook, whatever the environment has.

    Raises:
        BadSetting: PORT is not a port.
    """
    return settings_apart(
        keepa_api_key="key-of-the-simulator",
        keepa_base_url=keepa_url,
        min_balance_threshold=script.FLOOR,
        service_policies=json.dumps(script.POLICIES),
        rate_limit_per_minute=60,
        drain_seconds=0,
    )


async def run_demo(say: Say, stop: asyncio.Event, *, stay: bool) -> bool:
    """Play the script and print a summary.

    Args:
        say: Prints one line or several.
        stop: Ends the demo at any point.
        stay: Afterwards go on with some traffic for the dashboard, until `stop`.

    Returns:
        Whether every answer until then was as expected, and the floor was kept.

    Raises:
        BadSetting, OSError: PORT is not a port, or cannot be listened on.
    """
    account = script.ACCOUNT
    async with (
        await start_simulator(account) as keepa,
        serving(demo_settings(keepa.url)) as url,
        aiohttp.ClientSession(url, timeout=_PATIENCE) as session,
    ):
        say(f"Gateway   {url}")
        until = "" if stay else " (until the summary; --stay keeps it up)"
        say(f"Dashboard {url}/dashboard{until}")
        say(
            f"Keepa     simulated: {account.tokens} tokens now, {account.refill_rate} more each "
            f"minute, the first in {account.first_lump_in_ms // 1000} s\n"
        )
        demo = _Demo(session, say)
        is_good = await _until(stop, demo.perform(keepa, url))
        if is_good is not None and stay:
            say("\nThe dashboard stays up, with some traffic, until Ctrl-C.")
            await _until(stop, demo.go_on())
        return is_good is not False


async def _until(stop: asyncio.Event, work: Coroutine[Any, Any, bool]) -> bool | None:
    """Return the result of the work; None if it was stopped before its end."""
    task, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((task, stopping), return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        task.cancel()
        stopping.cancel()
        await asyncio.gather(task, stopping, return_exceptions=True)


class _Demo:
    """Makes the calls and prints their answers."""

    def __init__(self, session: aiohttp.ClientSession, say: Say) -> None:
        self._session = session
        self._say = say
        self._began_at = time.monotonic()
        self._surprises = 0

    async def perform(self, keepa: RunningSimulator, url: str) -> bool:
        """Play the script; return whether all went as expected."""
        await self._until_ready()
        self._say(_HEADING)
        await self._play_all(script.BEFORE)
        async with asyncio.TaskGroup() as waiting:
            waiting.create_task(self._play(script.WAITING))
            await asyncio.sleep(_PAUSE_SECONDS)
            await self._play_all(script.MEANWHILE)
        await self._play_all(script.AFTER)
        return await self._sum_up(keepa.state(), url)

    async def go_on(self) -> bool:
        """Make some calls, for ever."""
        async with asyncio.TaskGroup() as calls:
            for step in itertools.cycle(script.FOR_EVER):
                calls.create_task(self._call(step))
                await asyncio.sleep(_TRAFFIC_PAUSE_SECONDS)
        return True

    async def _until_ready(self) -> None:
        async with asyncio.timeout(_READY_SECONDS):
            while (await self._ask("/readyz"))[0] != HTTPStatus.OK:  # noqa: ASYNC110 - /readyz tells
                await asyncio.sleep(0.05)

    async def _play_all(self, steps: Sequence[Step]) -> None:
        for step in steps:
            await self._play(step)
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _play(self, step: Step) -> None:
        if step.wait_seconds:
            self._tell(step, f"waits, {step.wait_seconds} s at most", "", "")
        status, told = await self._call(step)
        reason = told.get("reason") or ""
        if "required_tokens" in told:
            answer = reason or "would be answered"
            tokens, balance = told["required_tokens"], told["current_balance"]
        else:
            answer, tokens, balance = "answered", told["tokensConsumed"], told["tokensLeft"]
        if told.get("retry_after_seconds"):
            answer += f", in {told['retry_after_seconds']} s"
        is_as_told = reason == step.refused and (status == HTTPStatus.OK) is not bool(reason)
        if not is_as_told:
            self._surprises += 1
            answer += f" (not {step.refused or 'answered'}!)"
        self._tell(step, f"{status} {answer}", tokens, balance)

    def _tell(self, step: Step, answer: str, tokens: object, balance: object) -> None:
        seconds = time.monotonic() - self._began_at
        line = (
            f"{seconds:5.1f}s  {step.service:9} {step.what:34} {answer:29} {tokens:>6} {balance:>7}"
        )
        self._say(line.rstrip())

    async def _call(self, step: Step) -> tuple[int, dict[str, Any]]:
        prefer = {"Prefer": f"wait={step.wait_seconds}"} if step.wait_seconds else {}
        return await self._ask(step.target, {"X-Service-Name": step.service, **prefer})

    async def _ask(
        self, target: str, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, Any]]:
        async with self._session.get(target, headers=headers) as answer:
            return answer.status, await answer.json()

    async def _sum_up(self, truth: dict[str, Any], url: str) -> bool:
        """Print usage and refusals by service, and whether the floor was kept."""
        _, status = await self._ask("/status")
        refused = {
            service: ", ".join(f"{count} {reason}" for reason, count in told["refusals"].items())
            for service, told in status["services"].items()
        }
        usage = await ask_usage(url, "", {"by": "service", "format": "json"})
        floor, lowest = status["tokens"]["floor"], truth["lowest_balance_by_charge"]
        is_kept = lowest >= floor
        self._say(f"\nWho used what, {draw_table(usage.body)}\n")
        for service, reasons in refused.items():
            self._say(f"Refused to {service}: {reasons or 'nothing'}")
        self._say(
            f"\nKeepa charged {truth['charged_total']} tokens and refused "
            f"{truth['refused_total']} calls; lumps brought {truth['gained_total']}.\n"
            f"Its lowest balance was {lowest}, the floor {floor}: "
            f"{'kept' if is_kept else 'CROSSED'}.\n"
            f"Answers that were not as told: {self._surprises}."
        )
        return is_kept and not self._surprises
