"""The pool of connections to Keepa, where a connection or Keepa itself is gone."""

import socket
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
from multidict import CIMultiDict
from support.keepa.scripted import answer
from support.measure.vitals import IS_THERE, MISSING, own_descriptors
from support.network.certificates import serve_with, sign_for_loopback
from support.waiting import until
from yarl import URL

from gateway.keepa.connections import Connections


async def ask(connections):
    return await connections.request("GET", "/product", CIMultiDict(), b"")


async def test_rest_of_a_lost_connections_answer_is_read(keepa):
    """What came before Keepa closed the connection is read, though nothing more will come."""
    body = b"x" * 100_000

    async def script(_, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body)
        await writer.drain()

    keepa.script = script
    got = await ask(Connections(URL(keepa.url)))
    await until(got.content.is_eof)
    assert await got.content.read() == body
    got.close()


@pytest.mark.skipif(not IS_THERE, reason=MISSING)
async def test_the_end_waits_for_no_goodbye(tmp_path, monkeypatch):
    """A Keepa that hangs keeps no connection open: TLS would wait half a minute for its goodbye."""
    sign_for_loopback(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    over = Event()

    def answer_and_hang():
        plain, _ = listener.accept()
        with serve_with(tmp_path).wrap_socket(plain, server_side=True) as connection:
            connection.recv(65_536)
            connection.sendall(answer())
            over.wait(10)

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as keepa:
        hanging = keepa.submit(answer_and_hang)
        connections = Connections(URL(f"https://127.0.0.1:{listener.getsockname()[1]}"))
        got = await ask(connections)
        await got.content.read()
        got.close()
        open_before = own_descriptors()
        connections.close()
        await until(lambda: own_descriptors() == open_before - 1, 2)
        over.set()
        hanging.result()
