"""Large answers pass through without being held: the process hardly grows."""

import asyncio
import zlib
from pathlib import Path

import pytest
from support.callers.crowd import agree
from support.callers.wire import Caller, write_request
from support.waiting import until, within

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        not Path("/proc/self/clear_refs").exists(), reason="memory is read from Linux' /proc"
    ),
]

SIZE = 60_000_000
MEGABYTE = 1024 * 1024
GROWTH = 16 * MEGABYTE
TARGET = "/product?key=x&domain=1&asin=B0MIN00001"


class Memory:
    """What a process holds of the machine's memory, in bytes."""

    def __init__(self, pid):
        self._folder = Path(f"/proc/{pid}")

    def read(self, name):
        for line in (self._folder / "status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
        raise LookupError(name)

    def begin(self):
        """Forget the highest so far; return what there is now."""
        (self._folder / "clear_refs").write_text("5")
        return self.read("VmRSS")


async def swallow(url, *headers, pause):
    """Receive an answer of chunks without keeping it; return its plain size and its last bytes."""
    async with Caller(url) as caller, within(60):
        await caller.send(write_request(TARGET, [f"X-Sim-Bytes: {SIZE}", *headers]))
        answer = await caller.receive_head()
        assert answer.status == 200
        assert answer.get("Transfer-Encoding") == "chunked"
        # A caller who is slow to read must not make the gateway hold what it has not read.
        await asyncio.sleep(pause)
        is_gzip = answer.get("Content-Encoding") == "gzip"
        inflate = zlib.decompressobj(31).decompress if is_gzip else bytes
        plain, tail = 0, b""
        while size := int(await caller.reader.readline(), 16):
            piece = inflate((await caller.reader.readexactly(size + 2))[:-2])
            plain += len(piece)
            tail = (tail + piece)[-200:]
        return plain, tail


@pytest.mark.parametrize("encoding", ["plain", "gzip"])
async def test_sixty_megabytes_pass_without_growth(machines, figures, encoding):
    """60 MB with the fields first and last: settled by them, the process grows by < 16 MB."""
    simulator = await machines.simulate(tokens=500).started()
    gateway = await machines.serve(keepa_base_url=simulator.url).started()
    await gateway.ready()
    accept = ["Accept-Encoding: gzip"] if encoding == "gzip" else []
    # Threads, buffers and code that the first answers of any size bring are not growth.
    assert (await gateway.ask(TARGET, "X-Sim-Bytes: 2000000", *accept)).whole
    memory = Memory(gateway.process.pid)
    before = memory.begin()
    grown = {}
    for order, pause in (("first", 0), ("sorted", 0), ("sorted", 0.5)):
        plain, tail = await swallow(gateway.url, f"X-Sim-Order: {order}", *accept, pause=pause)
        assert plain > SIZE
        assert tail.endswith(b"}")
        assert (b'"tokensLeft"' in tail) is (order == "sorted")
        name = f"{order}_grown_mb" if not pause else "slow_caller_grown_mb"
        grown[name] = round((memory.read("VmHWM") - before) / MEGABYTE, 1)
    figures(encoding=encoding, before_mb=round(before / MEGABYTE), **grown)
    assert memory.read("VmHWM") - before < GROWTH
    await agree([gateway], simulator)
    await until(lambda: len(gateway.logged("call")) == 4)
    assert [(line["outcome"], line["consumed"]) for line in gateway.logged("call")] == [
        ("settled", 1)
    ] * 4
