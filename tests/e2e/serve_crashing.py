"""`python -m e2e.serve_crashing`: `keepa-gateway serve`, with a fault while a file is there.

While `fault` lies in its folder, whoever asks Keepa for the balance meets an unexpected error.
"""

import sys
from pathlib import Path
from typing import Any

from gateway.commands import cli
from gateway.keepa.upstream import Upstream


def main() -> int:
    """Serve until told to stop; return the command's exit code."""
    has_fault, fetch_token = Path("fault").exists, Upstream.fetch_token

    async def fetch_or_crash(self: Upstream) -> Any:
        if has_fault():
            raise AttributeError("a fault")
        return await fetch_token(self)

    Upstream.fetch_token = fetch_or_crash  # type: ignore[method-assign]
    return cli.main(["serve"])


if __name__ == "__main__":
    sys.exit(main())
