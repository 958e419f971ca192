"""`python -m simulation --seed 1`: plays stories; `make simulate` is a shorter way to it."""

import sys

from simulation.command import main

sys.exit(main())
