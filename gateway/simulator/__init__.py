"""A Keepa to test against: it charges as Keepa does, answers as Keepa does, and fails on request.

It imports nothing of the gateway, for it is the judge of what the gateway reserves and settles.
Begin with `app`; `charges` and `bucket` hold what a test about money rests on.
"""

from gateway.simulator.app import create_simulator
from gateway.simulator.bucket import Bucket
from gateway.simulator.config import FieldOrder, SimulatorConfig
from gateway.simulator.server import RunningSimulator, start_simulator
from gateway.simulator.steering import Fault

__all__ = [
    "Bucket",
    "Fault",
    "FieldOrder",
    "RunningSimulator",
    "SimulatorConfig",
    "create_simulator",
    "start_simulator",
]
