"""The tests' own stopwatch: bounds that hold on a busy machine, and can fail all the same."""

import os
import subprocess
import sys
import time

import pytest
from support.measure.stopwatch import Stopwatch

SPIN = "import time\nwhile time.process_time() < 0.4: pass"
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="no run queues outside Linux")


def test_sleeping_counts():
    """A wait that is ours is measured, whatever else the machine does."""
    watch = Stopwatch()
    time.sleep(0.3)
    assert 0.25 < watch.seconds <= watch.wall_seconds


@needs_linux
def test_waiting_for_a_processor_does_not_count():
    """Four processes that share one processor take as long as they would with one each."""
    mine = os.sched_getaffinity(0)
    watch = Stopwatch()
    try:
        os.sched_setaffinity(0, {min(mine)})
        spinning = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(4)]
    finally:
        os.sched_setaffinity(0, mine)
    while any(child.poll() is None for child in spinning):
        time.sleep(0.01)
        last = watch.seconds, watch.wall_seconds
    assert last[1] > 1.6
    assert last[0] < last[1] / 2


def test_the_load_excuses_no_more_than_tenfold():
    """However busy the machine, a tenth of the time counts: every bound fails in the end."""
    watch = Stopwatch()
    watch._delays = dict.fromkeys(watch._delays, -(10**15))
    time.sleep(0.1)
    assert watch.seconds == pytest.approx(watch.wall_seconds / 10, rel=0.5)
