"""The proxy that makes the faults does what each is called."""

import asyncio
import time

import pytest
from support.network.fault_proxy import Direction, FaultProxy
from support.waiting import until


class Echo:
    """Answers each line with itself, in capitals; remembers what reached it."""

    def __init__(self):
        self.heard = []

    async def serve(self, reader, writer):
        try:
            while line := await reader.readline():
                self.heard.append(line)
                writer.write(line.upper())
        except OSError:
            pass
        finally:
            writer.close()


class Wire:
    """Clients, the proxy and the server behind it."""

    def __init__(self, echo, proxy):
        self.echo, self.proxy = echo, proxy
        self.links = []

    async def connect(self):
        link = await asyncio.open_connection("127.0.0.1", self.proxy.port)
        self.links.append(link)
        return link


@pytest.fixture
async def wire():
    echo = Echo()
    server = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
    async with FaultProxy(server.sockets[0].getsockname()[1]) as proxy:
        wire = Wire(echo, proxy)
        yield wire
        for _, writer in wire.links:
            writer.close()
    server.close()


async def say(link, line, seconds=2.0):
    """Send a line; return all that comes up to the next line's end or the connection's."""
    link[1].write(line)
    return await asyncio.wait_for(link[0].readline(), seconds)


async def is_cut(link):
    """Tell whether the connection ends by a reset, with nothing said before."""
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(link[0].read(), 2)
    return True


async def test_without_a_fault_bytes_pass(wire):
    """A megabyte comes back byte for byte, and an end is an end."""
    link = await wire.connect()
    lines = [b"%07d\n" % n for n in range(125_000)]
    link[1].write(b"".join(lines))
    assert await link[0].readexactly(8 * len(lines)) == b"".join(lines)
    link[1].close()
    await until(lambda: wire.proxy.connections == 0)


async def test_refused_and_lifted(wire):
    """Open connections are reset, new ones refused; lifted, they are taken again."""
    link = await wire.connect()
    assert await say(link, b"a\n") == b"A\n"
    wire.proxy.refuse()
    assert await is_cut(link)
    with pytest.raises(ConnectionRefusedError):
        await wire.connect()
    await wire.proxy.lift()
    assert await say(await wire.connect(), b"b\n") == b"B\n"


async def test_silent(wire):
    """New connections are taken and nothing is said on them, until they are reset when lifted."""
    wire.proxy.fall_silent()
    link = await wire.connect()
    with pytest.raises(TimeoutError):
        await say(link, b"a\n", 0.1)
    await wire.proxy.lift()
    assert await is_cut(link)
    assert wire.echo.heard == []


@pytest.mark.parametrize("direction", [None, *Direction])
async def test_stalled_bytes_go_on_when_lifted(wire, direction):
    """Nothing passes that way and nothing closes; when lifted, what waited arrives."""
    link = await wire.connect()
    assert await say(link, b"a\n") == b"A\n"
    if direction:
        wire.proxy.stall(direction)
    else:
        wire.proxy.swallow()
    with pytest.raises(TimeoutError):
        await say(link, b"b\n", 0.1)
    assert (b"b\n" in wire.echo.heard) is (direction is Direction.ANSWER)
    await wire.proxy.lift()
    assert await asyncio.wait_for(link[0].readline(), 2) == b"B\n"


async def test_a_lost_reply(wire):
    """The next request reaches the server, its client hears a reset; the one after is answered."""
    link = await wire.connect()
    assert await say(link, b"a\n") == b"A\n"
    wire.proxy.lose_reply()
    link[1].write(b"b\n")
    assert await is_cut(link)
    assert await say(await wire.connect(), b"c\n") == b"C\n"
    assert wire.echo.heard == [b"a\n", b"b\n", b"c\n"]


async def test_answers_cut_in_the_middle(wire):
    """Each answer is cut after so many bytes, on every connection, until lifted."""
    wire.proxy.cut_answers(3)
    for _ in range(2):
        reader, writer = await wire.connect()
        writer.write(b"abcdef\n")
        assert await reader.readexactly(3) == b"ABC"
        assert await is_cut((reader, writer))
    await wire.proxy.lift()
    assert await say(await wire.connect(), b"abcdef\n") == b"ABCDEF\n"


async def test_a_delay_is_no_lack_of_speed(wire):
    """Each answer comes late by the delay, and many on one connection no later than one."""
    link = await wire.connect()
    wire.proxy.delay(0.2)
    began_at = time.monotonic()
    for n in range(10):
        link[1].write(b"%d\n" % n)
        await asyncio.sleep(0.01)
    assert [await link[0].readline() for _ in range(10)] == [b"%d\n" % n for n in range(10)]
    assert 0.2 <= time.monotonic() - began_at < 1.5


async def test_a_trickle_takes_its_time(wire):
    """Answers come in drops, whole in the end."""
    link = await wire.connect()
    wire.proxy.trickle(100)
    began_at = time.monotonic()
    assert await say(link, b"x" * 29 + b"\n") == b"X" * 29 + b"\n"
    assert time.monotonic() - began_at >= 0.25


async def test_words_put_into_the_servers_mouth(wire):
    """Any request is answered by what the proxy is to say, and the server hears nothing."""
    wire.proxy.say(b"HTTP/1.1 503 no\r\n\r\n")
    link = await wire.connect()
    link[1].write(b"a\n")
    assert await link[0].read() == b"HTTP/1.1 503 no\r\n\r\n"
    assert wire.echo.heard == []
