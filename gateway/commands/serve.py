"""`keepa-gateway serve`: runs the gateway until a signal ends it."""

import argparse
import asyncio
import signal
from typing import Any

import structlog

from gateway.app import serving, settle_memory
from gateway.commands.signals import stop_signal
from gateway.commands.start import read_settings_and_log
from gateway.front.turnstile import calm_accepting
from gateway.settings import ENV_FILE, Settings, describe_misspelt

_log: Any = structlog.get_logger(__name__)


def add_options(_: argparse.ArgumentParser) -> None:
    """The command has none: settings come from the environment."""


def run(_: argparse.Namespace) -> int:
    """Serve; return the exit code."""
    settings = read_settings_and_log()
    if misspelt := describe_misspelt(ENV_FILE):
        _log.warning("misspelt_settings", hint="; ".join(misspelt))
    return 0 if asyncio.run(_serve_until_signal(settings)) else 1


async def _serve_until_signal(settings: Settings) -> bool:
    """Serve until a signal comes; False: until a background job kept crashing."""
    stop = stop_signal()
    is_well = True

    def give_up() -> None:
        nonlocal is_well
        is_well = False
        stop.set()

    # Other servers reload their settings at SIGHUP; this one must at least not end.
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, _log_sighup)
    with calm_accepting():
        async with serving(settings, give_up):
            settle_memory()
            await stop.wait()
    return is_well


def _log_sighup() -> None:
    _log.warning(
        "sighup_ignored",
        hint="settings are read at the start: change them, let `keepa-gateway check` read them, "
        "restart the gateways one by one",
    )
