"""What a client of the simulator sends and gets, over real sockets."""

import asyncio
from urllib.parse import urlsplit

import orjson

FIELDS = [
    "timestamp",
    "tokensLeft",
    "refillIn",
    "refillRate",
    "tokenFlowReduction",
    "tokensConsumed",
    "processingTimeInMs",
]
JSON = "application/json;charset=utf-8"
HTML = "text/html;charset=utf-8"
PRODUCT = "/product?key=k&domain=1&asin=B000000001"


async def fetch(session, running, target, **how):
    """Return (status, headers, body as sent); accepts no gzip unless told to."""
    how["headers"] = {"Accept-Encoding": "identity", **how.get("headers", {})}
    method = how.pop("method", "GET")
    url = running.url + target if isinstance(target, str) else target
    async with session.request(method, url, **how) as response:
        return response.status, response.headers, await response.read()


async def fetch_json(session, running, target, **how):
    return orjson.loads((await fetch(session, running, target, **how))[2])


async def control(session, running, path, change=None):
    method = "GET" if path == "/sim/state" else "POST"
    data = None if change is None else orjson.dumps(change)
    status, _, body = await fetch(session, running, path, method=method, data=data)
    return status, orjson.loads(body)


async def talk(running, target, *lines, method="GET", body=b""):
    """Speak plain HTTP, once; return the head and all bytes until the connection closes."""
    parts = urlsplit(running.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    head = [f"{method} {target} HTTP/1.1", "Host: keepa", "Connection: close", *lines]
    if body:
        head.append(f"Content-Length: {len(body)}")
    writer.write("\r\n".join([*head, "", ""]).encode() + body)
    received = await reader.read(-1)
    writer.close()
    await writer.wait_closed()
    return received.partition(b"\r\n\r\n")[::2]


# What Keepa answers
