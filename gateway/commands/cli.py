"""The commands: serve, check, usage, simulate, demo."""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from gateway import __version__
from gateway.app import serving, settle_memory
from gateway.commands.check import check_setup, check_webhook
from gateway.commands.demo import run_demo
from gateway.commands.usage_table import NoAnswer, ask_usage, draw_table, own_url
from gateway.errors import BadSetting
from gateway.front.turnstile import calm_accepting
from gateway.log import set_up_logging
from gateway.settings import ENV_FILE, Settings, describe_misspelt, read_settings
from gateway.simulator import SimulatorConfig, start_simulator

_log: Any = structlog.get_logger(__name__)

_BAD_SETTING = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code: 0 done, 1 failed, 2 a bad setting or argument."""
    options = _parser().parse_args(arguments)
    if options.run in {_serve, _simulate, _demo} and os.name != "posix":
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
        return _BAD_SETTING
    except OSError as error:
        # The port is taken, the address is not this machine's.
        print(f"{type(error).__name__}: {error.strerror or error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="keepa-gateway", description="One Keepa token budget for many services."
    )
    parser.add_argument("--version", action="version", version=f"keepa-gateway {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    serve = commands.add_parser("serve", help="run the gateway; settings from the environment")
    serve.set_defaults(run=_serve)
    check = commands.add_parser("check", help="read the settings, reach the store and Keepa")
    check.set_defaults(run=_check)
    check.add_argument("--env-file", type=Path, metavar="FILE", help="read this file, not .env")
    check.add_argument("--webhook", action="store_true", help="post a test alert as well")
    _add_usage(commands.add_parser("usage", help="ask a running gateway who used how much"))
    demo = commands.add_parser(
        "demo", help="see it work: twenty seconds of three services on one key; PORT: any free one"
    )
    demo.set_defaults(run=_demo)
    demo.add_argument(
        "--stay", action="store_true", help="keep the dashboard up, with some traffic, until Ctrl-C"
    )
    simulate = commands.add_parser("simulate", help="run the built-in Keepa simulator")
    simulate.set_defaults(run=_simulate)
    defaults = SimulatorConfig()
    simulate.add_argument("--host", default="127.0.0.1")
    simulate.add_argument("--port", type=int, default=8090, help="default 8090; 0: any free one")
    simulate.add_argument("--key", default=None, help="the only key it knows; default: any")
    simulate.add_argument("--tokens", type=int, default=defaults.tokens, help="balance at start")
    simulate.add_argument("--rate", type=int, default=defaults.refill_rate, help="tokens a minute")
    simulate.add_argument(
        "--lump-in-ms", type=int, default=defaults.first_lump_in_ms, help="until the first lump"
    )
    simulate.add_argument("--latency", type=float, default=0.0, help="seconds before each answer")
    simulate.add_argument("--fault-rate", type=float, default=0.0, help="share of failing calls")
    simulate.add_argument("--seed", type=int, default=defaults.seed, help="of the random faults")
    simulate.add_argument(
        "--decoys", action="store_true", help="fields in products that are named like token fields"
    )
    simulate.add_argument(
        "--lenient", action="store_true", help="serve calls without a domain, and ASINs of any form"
    )
    return parser


def _add_usage(usage: argparse.ArgumentParser) -> None:
    usage.set_defaults(run=_usage)
    moments = "a date or date-time in UTC, as 2026-11-22 or 2026-11-22T13:00Z"
    usage.add_argument("--from", metavar="TIME", help=f"{moments}; default: a day before --to")
    usage.add_argument(
        "--to", metavar="TIME", help="the same; a date is that whole day; default: now"
    )
    usage.add_argument("--by", help="of hour,day,service,endpoint; default service,endpoint")
    usage.add_argument("--csv", action="store_true", help="print CSV instead of a table")
    usage.add_argument("--url", help="of the gateway; default: by HOST and PORT, as it reads them")


def _serve(_: argparse.Namespace) -> int:
    settings = _read_settings()
    if misspelt := describe_misspelt(ENV_FILE):
        _log.warning("misspelt_settings", hint="; ".join(misspelt))
    return 0 if asyncio.run(_until_told(settings)) else 1


async def _until_told(settings: Settings) -> bool:
    """Serve until a signal comes; False: until a background job kept crashing."""
    stop = _stop_signal()
    is_well = True

    def give_up() -> None:
        nonlocal is_well
        is_well = False
        stop.set()

    # What other servers take as "read your settings again" must not end this one.
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, _tell_reload)
    with calm_accepting():
        async with serving(settings, give_up):
            settle_memory()
            await stop.wait()
    return is_well


def _tell_reload() -> None:
    _log.warning(
        "sighup_ignored",
        hint="settings are read at the start: change them, let `keepa-gateway check` read them, "
        "restart the gateways one by one",
    )


def _stop_signal() -> asyncio.Event:
    """Return what is set at SIGTERM or SIGINT, from now on."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    return stop


def _end_signal() -> asyncio.Event:
    """Return what is set at those, and when the terminal is closed (without nohup)."""
    stop = _stop_signal()
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, stop.set)
    return stop


def _check(options: argparse.Namespace) -> int:
    env_file = options.env_file or ENV_FILE
    if options.env_file and not env_file.is_file():
        raise BadSetting(f"--env-file {env_file}: there is no such file")
    settings = _read_settings(env_file)
    # Its lines tell what the log would.
    set_up_logging("CRITICAL", "console", settings.secrets)
    reports = [asyncio.run(check_setup(settings, describe_misspelt(env_file)))]
    if options.webhook:
        reports.append(asyncio.run(check_webhook(settings)))
    for report in reports:
        print("\n".join(report.lines))
    return 0 if all(report.is_good for report in reports) else 1


def _usage(options: argparse.Namespace) -> int:
    settings = _read_settings(for_keepa=False)
    asked = {name: getattr(options, name) for name in ("from", "to", "by")}
    asked |= {"format": "csv" if options.csv else "json"}
    try:
        url = options.url or own_url(settings.host, settings.port)
        told = asyncio.run(ask_usage(url, settings.admin_token.get_secret_value(), asked))
        text = told.body.decode() if options.csv else draw_table(told.body)
    except NoAnswer as error:
        print(error, file=sys.stderr)
        return 1
    # Beside CSV, which is for programs; above a table.
    print(told.by, file=sys.stderr if options.csv else sys.stdout)
    print(text, end="" if options.csv else "\n")
    return 0


def _demo(options: argparse.Namespace) -> int:
    # The demo's own lines are what is to be seen.
    set_up_logging("ERROR", "console", ())
    return 0 if asyncio.run(_run_demo(stay=options.stay)) else 1


async def _run_demo(*, stay: bool) -> bool:
    return await run_demo(partial(print, flush=True), _end_signal(), stay=stay)


def _simulate(options: argparse.Namespace) -> int:
    config = SimulatorConfig(
        api_key=options.key,
        tokens=options.tokens,
        refill_rate=options.rate,
        first_lump_in_ms=options.lump_in_ms,
        latency_seconds=options.latency,
        fault_rate=options.fault_rate,
        seed=options.seed,
        decoys=options.decoys,
        lenient=options.lenient,
    )
    asyncio.run(_run_simulator(config, options.host, options.port))
    return 0


async def _run_simulator(config: SimulatorConfig, host: str, port: int) -> None:
    stop = _end_signal()
    simulator = await start_simulator(config, host, port)
    print(f"simulated Keepa at {simulator.url}, its state at {simulator.url}/sim/state", flush=True)
    await stop.wait()
    await simulator.close()


def _read_settings(env_file: Path = ENV_FILE, *, for_keepa: bool = True) -> Settings:
    # Before anything can log: a library's first line may already carry a key.
    set_up_logging("INFO", "json", ())
    settings = read_settings(env_file, for_keepa=for_keepa)
    set_up_logging(settings.log_level, settings.log_format, settings.secrets)
    return settings
