"""More callers, connections and bytes than one gateway process can serve."""

import asyncio
import os
import resource
import signal
import socket
import time
from collections import Counter
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from support.callers.crowd import ONE_TOKEN, verdict
from support.callers.wire import Caller, write_request
from support.measure.vitals import open_descriptors
from support.waiting import until

pytestmark = pytest.mark.e2e

CALLERS = 2000
CALL = write_request(ONE_TOKEN)
MB = 1024 * 1024


def memory_mb(process):
    """Return what the process holds now, and the most that it ever held."""
    lines = Path(f"/proc/{process.process.pid}/status").read_text().splitlines()
    sizes = dict(line.split(":", 1) for line in lines)
    return tuple(int(sizes[name].split()[0]) // 1024 for name in ("VmRSS", "VmHWM"))


def cpu_seconds(process):
    fields = Path(f"/proc/{process.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def started(machines, simulator, **settings):
    gateway = await machines.serve(keepa_base_url=simulator.url, **settings).started()
    return await gateway.ready()


async def crowd_told(gateway):
    """Make a call on each of 2 000 connections at once; return what was told, and when the last."""
    async with AsyncExitStack() as stack:
        callers = []
        for _ in range(CALLERS // 200):
            batch = (stack.enter_async_context(Caller(gateway.url)) for _ in range(200))
            callers += await asyncio.gather(*batch)
        began = time.monotonic()
        for caller in callers:
            caller.writer.write(CALL)
        answers = await asyncio.gather(*(caller.receive() for caller in callers))
        return Counter(verdict(got) for got in answers), round(time.monotonic() - began, 2)


@pytest.mark.parametrize(("queue", "latency"), [(CALLERS, 0.05), (500, 1)])
async def test_two_thousand_callers_at_once(machines, figures, queue, latency):
    """Every one of 2 000 callers is answered; beyond slots and queue at once, with `overloaded`."""
    simulator = await machines.simulate(tokens=20_000, rate=1000, latency=latency).started()
    gateway = await started(machines, simulator, max_concurrency=50, max_queue=queue)
    before, _ = memory_mb(gateway)
    for _ in range(2):
        told, seconds = await crowd_told(gateway)
        figures(told=dict(told), seconds=seconds, memory_mb=memory_mb(gateway), before_mb=before)
        assert told.total() == CALLERS
        assert told.keys() <= {"200", "503 overloaded"}
        assert told["200"] >= min(CALLERS, 50 + queue)
        assert (told["503 overloaded"] > 0) is (queue < CALLERS)
    assert memory_mb(gateway)[1] - before < 150
    truth = await simulator.state()
    assert truth["calls_total"] - truth["calls"]["token"] == truth["charged_total"]
    assert await gateway.reserved() == 0
    assert not gateway.logged("unhandled")
    assert gateway.errors == ""


async def flood(url, request):
    """Send the same request without reading an answer until the other side is gone."""
    with socket.socket() as plain:
        # The less fits into the sockets, the sooner it is the gateway's turn to hold it.
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        plain.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(plain, (urlsplit(url).hostname, urlsplit(url).port))
        with suppress(ConnectionError):
            while True:
                await loop.sock_sendall(plain, request)


@pytest.mark.parametrize(
    ("callers", "request_bytes"),
    [
        (8, write_request("/a/b") * 100),
        (5, write_request("/metrics") * 10),
        (3, b"GET /a/b?x=" + b"y" * 100_000 + b" HTTP/1.1\r\nHost: g\r\n\r\n"),
        (100, write_request("/a/b", method="POST", body=b"x" * MB)),
    ],
    ids=["refusals", "pages", "long heads", "bodies nobody wants"],
)
async def test_callers_who_read_nothing_hold_little(machines, figures, callers, request_bytes):
    """Callers who send and never read hold little more than their sockets do, and go."""
    simulator = await machines.simulate(tokens=1000).started()
    gateway = await started(machines, simulator, upstream_timeout_seconds=3)
    before, _ = memory_mb(gateway)
    floods = (flood(gateway.url, request_bytes) for _ in range(callers))
    await asyncio.wait_for(asyncio.gather(*floods), 60)
    after, most = memory_mb(gateway)
    figures(before_mb=before, after_mb=after, most_mb=most)
    assert most - before < 100
    assert (await gateway.ask(ONE_TOKEN)).status == 200
    assert gateway.errors == ""


async def test_large_answers_that_nobody_reads_hold_little(machines, figures):
    """Answers of many megabytes to callers who do not read them stay with Keepa, and are cut."""
    simulator = await machines.simulate(tokens=1000).started()
    gateway = await started(machines, simulator, upstream_timeout_seconds=4)
    before, _ = memory_mb(gateway)
    async with AsyncExitStack() as stack:
        callers = [await stack.enter_async_context(Caller(gateway.url)) for _ in range(40)]
        for caller in callers:
            caller.writer.transport.pause_reading()
            await caller.send(write_request(ONE_TOKEN, [f"X-Sim-Bytes: {20 * MB}"]))
        await until(lambda: len(gateway.logged("call")) == 40, 20)
        for caller in callers:
            caller.writer.transport.resume_reading()
        answers = await asyncio.gather(*(caller.receive() for caller in callers))
        assert not any(got.whole for got in answers)
    after, most = memory_mb(gateway)
    figures(before_mb=before, after_mb=after, most_mb=most)
    assert most - before < 100
    assert (await gateway.ask(ONE_TOKEN)).status == 200
    assert gateway.errors == ""


async def test_connections_leave_descriptors_for_keepa(machines, figures):
    """A process that may have few descriptors bounds its callers, and still reaches Keepa."""
    simulator = await machines.simulate(tokens=10_000).started()
    gateway = machines.serve(keepa_base_url=simulator.url, max_concurrency=10)
    # Before it reads it: a process takes longer than this to start.
    resource.prlimit(gateway.process.pid, resource.RLIMIT_NOFILE, (64, 200))
    await (await gateway.started()).ready()
    (line,) = gateway.logged("listening")
    assert 50 < line["connections"] < 200
    assert resource.prlimit(gateway.process.pid, resource.RLIMIT_NOFILE) == (200, 200)
    async with AsyncExitStack() as stack:
        # Stopped, so that it finds all of them waiting at once.
        gateway.process.send_signal(signal.SIGSTOP)
        callers = [await stack.enter_async_context(Caller(gateway.url)) for _ in range(400)]
        for caller in callers:
            caller.writer.write(CALL)
        gateway.process.send_signal(signal.SIGCONT)
        answers = await asyncio.gather(
            *(caller.receive() for caller in callers), return_exceptions=True
        )
        told = Counter("gone" if isinstance(got, Exception) else verdict(got) for got in answers)
        figures(told=dict(told), descriptors=open_descriptors(gateway.process.pid))
        assert told["200"] == line["connections"]
        assert told["503 overloaded"] >= line["connections"] // 10 - 1
        assert told.keys() <= {"200", "503 overloaded", "gone"}
    assert not gateway.logged("out_of_descriptors")
    assert (await gateway.ask(ONE_TOKEN)).status == 200
    assert gateway.errors == ""


async def test_out_of_descriptors(machines, figures):
    """Without descriptors the gateway waits: it neither dies, nor spins, nor fills the log."""
    simulator = await machines.simulate(tokens=10_000).started()
    gateway = await started(machines, simulator)
    assert (await gateway.ask(ONE_TOKEN)).status == 200
    most = resource.prlimit(gateway.process.pid, resource.RLIMIT_NOFILE)
    limit = open_descriptors(gateway.process.pid) + 5
    async with AsyncExitStack() as stack:
        resource.prlimit(gateway.process.pid, resource.RLIMIT_NOFILE, (limit, most[1]))
        for _ in range(300):
            await stack.enter_async_context(Caller(gateway.url))
        await until(lambda: gateway.logged("out_of_descriptors"))
        lines, cpu, began = len(gateway.lines()), cpu_seconds(gateway), time.monotonic()
        await asyncio.sleep(3)
        share = (cpu_seconds(gateway) - cpu) / (time.monotonic() - began)
        figures(cpu_share=round(share, 3), lines=len(gateway.lines()) - lines)
        assert share < 0.3
        assert len(gateway.lines()) - lines <= 3
        assert not gateway.has_ended
    resource.prlimit(gateway.process.pid, resource.RLIMIT_NOFILE, most)

    async def is_served():
        with suppress(OSError, EOFError, TimeoutError):
            return (await gateway.ask(ONE_TOKEN)).status == 200

    await until(is_served, 10)
    assert "Traceback" not in gateway.output
    assert gateway.errors == ""
