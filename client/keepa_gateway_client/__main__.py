"""`python -m keepa_gateway_client script.py`: what `keepa-via-gateway` does."""

import sys

from keepa_gateway_client.command import main

sys.exit(main())
