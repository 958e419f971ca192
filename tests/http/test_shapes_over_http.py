"""Shapes of calls through a gateway that serves: held, charged and settled as their rows say."""

from support.callers.wire import ask
from support.keepa.call_shapes import SHAPES, UNBOUNDED

TOKENS = 1_000_000
"""More than any row costs, so that none is refused."""
ENDPOINTS = dict.fromkeys(shape.endpoint for shape in SHAPES)
WORST = [
    max((shape for shape in SHAPES if shape.endpoint == endpoint), key=lambda shape: shape.charged)
    for endpoint in ENDPOINTS
]
"""The dearest of each endpoint; the rest is tried without a wire, which adds nothing to it."""
POSTED = [shape for shape in SHAPES if shape.body]


async def test_shapes_are_held_and_charged_as_their_rows_say(serve, simulate):
    """The hold is the row's, and what Keepa then charges is no more, but where nobody can know."""
    keepa = await simulate(tokens=TOKENS, refill_rate=TOKENS, lenient=False)
    gateway = await serve(keepa)
    await gateway.until_ready()
    told = {}
    for shape in dict.fromkeys([*WORST, *POSTED]):
        # A Keepa that nobody has called before, as the row has it.
        await ask(keepa.url, "/sim/reset", method="POST")
        how = {"method": "POST", "body": shape.body} if shape.body else {}
        answer = await gateway.ask(shape.path, **how)
        held = int(answer.get("X-Keepa-Gateway-Reserved"))
        told[shape] = (held, keepa.state()["charged_total"])
    wrong = {
        shape.name: found
        for shape, found in told.items()
        if found != (shape.reserved, shape.charged)
    }
    assert not wrong
    assert {shape for shape, (held, charged) in told.items() if charged > held} <= UNBOUNDED
    assert (await gateway.at_rest())["reserved"] == 0
