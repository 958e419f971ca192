"""The simulator's own paths, of two segments so that none can ever be Keepa's.

| path | takes | gives |
|---|---|---|
| `GET /sim/state` | - | the truth about the account, as `Account.state` |
| `POST /sim/config` | any fields of `SimulatorConfig` to change, live | the configuration |
| `POST /sim/spend` | `{"tokens": n}`, drawn as by a consumer nobody sees | the state |
| `POST /sim/reset` | optionally `tokens`, `first_lump_in_ms`; else as configured | the state |

What cannot be done is a 400 with `{"error": "..."}`, and nothing is changed.
"""

import dataclasses
from typing import Any

import orjson
from aiohttp import web

from gateway.simulator.account import Account

ACCOUNT = web.AppKey("account", Account)
KINDS: dict[str, tuple[type, ...]] = {
    "api_key": (str, type(None)),
    "tokens": (int,),
    "refill_rate": (int,),
    "flow_reduction": (int, float),
    "first_lump_in_ms": (int,),
    "field_order": (str,),
    "latency_seconds": (int, float),
    "fault_rate": (int, float),
    "seed": (int,),
    "decoys": (bool,),
    "lenient": (bool,),
    "odd": (str, type(None)),
}
"""The fields of `SimulatorConfig` and what JSON may give for them."""


def add_control(app: web.Application) -> None:
    """Add the control paths to the application."""
    app.router.add_get("/sim/state", show_state)
    app.router.add_post("/sim/config", change_config)
    app.router.add_post("/sim/spend", spend_tokens)
    app.router.add_post("/sim/reset", reset_account)


async def show_state(request: web.Request) -> web.Response:
    """Tell the truth about the account."""
    return answer(request.app[ACCOUNT].state())


async def change_config(request: web.Request) -> web.Response:
    """Change the configuration, live."""
    account = request.app[ACCOUNT]
    changes = await read_numbers_and_texts(request, KINDS)
    try:
        account.change(dataclasses.replace(account.config, **changes))
    except ValueError as problem:
        raise refuse(str(problem)) from None
    return answer(dataclasses.asdict(account.config))


async def spend_tokens(request: web.Request) -> web.Response:
    """Draw tokens as a consumer outside does, below zero too."""
    account = request.app[ACCOUNT]
    wanted = await read_numbers_and_texts(request, {"tokens": (int,)})
    try:
        account.bucket.spend(wanted.get("tokens", 0), account.now_ms())
    except ValueError as problem:
        raise refuse(str(problem)) from None
    return answer(account.state())


async def reset_account(request: web.Request) -> web.Response:
    """Begin anew, with the balance and phase given or else as configured."""
    account = request.app[ACCOUNT]
    wanted = await read_numbers_and_texts(request, {"tokens": (int,), "first_lump_in_ms": (int,)})
    try:
        account.reset(**wanted)
    except ValueError as problem:
        raise refuse(str(problem)) from None
    return answer(account.state())


async def read_numbers_and_texts(
    request: web.Request, kinds: dict[str, tuple[type, ...]]
) -> dict[str, Any]:
    """Read a JSON object with some of the names in `kinds`; an empty body is an empty object."""
    body = await request.read()
    try:
        values = orjson.loads(body or b"{}")
    except orjson.JSONDecodeError:
        raise refuse("the body is not JSON") from None
    if not isinstance(values, dict):
        raise refuse("the body is no object")
    for name, value in values.items():
        if name not in kinds:
            raise refuse(f"there is no {name}; there are {', '.join(kinds)}")
        is_flag = kinds[name] == (bool,)
        if isinstance(value, bool) is not is_flag or not isinstance(value, kinds[name]):
            raise refuse(f"{name} cannot be {value!r}")
    return values


def answer(value: dict[str, Any]) -> web.Response:
    """Answer with JSON."""
    return web.Response(body=orjson.dumps(value), content_type="application/json")


def refuse(problem: str) -> web.HTTPBadRequest:
    """Make the 400 for what cannot be done."""
    text = orjson.dumps({"error": problem}).decode()
    return web.HTTPBadRequest(text=text, content_type="application/json")
