"""`keepa-gateway simulate`: runs the built-in Keepa simulator until a signal ends it."""

import argparse
import asyncio

from gateway.commands.signals import end_signal
from gateway.simulator import SimulatorConfig, start_simulator


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the account's figures, faults, and where to listen."""
    defaults = SimulatorConfig()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8090, help="default 8090; 0: any free one")
    parser.add_argument("--key", default=None, help="the only key it knows; default: any")
    parser.add_argument("--tokens", type=int, default=defaults.tokens, help="balance at start")
    parser.add_argument("--rate", type=int, default=defaults.refill_rate, help="tokens a minute")
    parser.add_argument(
        "--lump-in-ms", type=int, default=defaults.first_lump_in_ms, help="until the first lump"
    )
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--fault-rate", type=float, default=0.0, help="share of failing calls")
    parser.add_argument("--seed", type=int, default=defaults.seed, help="of the random faults")
    parser.add_argument(
        "--decoys", action="store_true", help="fields in products that are named like token fields"
    )
    parser.add_argument(
        "--lenient", action="store_true", help="serve calls without a domain, and ASINs of any form"
    )


def run(options: argparse.Namespace) -> int:
    """Simulate; return the exit code."""
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
    asyncio.run(_simulate_until_signal(config, options.host, options.port))
    return 0


async def _simulate_until_signal(config: SimulatorConfig, host: str, port: int) -> None:
    stop = end_signal()
    simulator = await start_simulator(config, host, port)
    print(f"simulated Keepa at {simulator.url}, its state at {simulator.url}/sim/state", flush=True)
    await stop.wait()
    await simulator.close()
