"""`keepa-gateway usage`: asks a running gateway who used how much."""

import argparse
import asyncio
import sys

from gateway.commands.start import read_settings_and_log
from gateway.commands.usage_table import NoAnswer, ask_usage, draw_table, own_url


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the period, the columns, the format, and which gateway to ask."""
    moments = "a date or date-time in UTC, as 2026-11-22 or 2026-11-22T13:00Z"
    parser.add_argument("--from", metavar="TIME", help=f"{moments}; default: a day before --to")
    parser.add_argument(
        "--to", metavar="TIME", help="the same; a date is that whole day; default: now"
    )
    parser.add_argument("--by", help="of hour,day,service,endpoint; default service,endpoint")
    parser.add_argument("--csv", action="store_true", help="print CSV instead of a table")
    parser.add_argument("--url", help="of the gateway; default: by HOST and PORT, as it reads them")


def run(options: argparse.Namespace) -> int:
    """Ask and print; return the exit code."""
    settings = read_settings_and_log(for_keepa=False)
    asked = {name: getattr(options, name) for name in ("from", "to", "by")}
    asked |= {"format": "csv" if options.csv else "json"}
    try:
        url = options.url or own_url(settings.host, settings.port)
        usage = asyncio.run(ask_usage(url, settings.admin_token.get_secret_value(), asked))
        text = usage.body.decode() if options.csv else draw_table(usage.body)
    except NoAnswer as error:
        print(error, file=sys.stderr)
        return 1
    # Beside CSV, which is for programs; above a table.
    print(usage.source, file=sys.stderr if options.csv else sys.stdout)
    print(text, end="" if options.csv else "\n")
    return 0
