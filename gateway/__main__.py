"""`python -m gateway`: the same as `keepa-gateway`."""

import sys

from gateway.commands.cli import main

sys.exit(main())
