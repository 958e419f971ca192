"""`/quote`: what a call would cost and whether it would run now, consuming nothing."""

from aiohttp import web

from gateway.call.gate import Gate
from gateway.call.intake import Intake
from gateway.errors import Refusal
from gateway.front.answers import quote, refuse
from gateway.front.door import cancel_if_left, request_id
from gateway.front.facts import Facts
from gateway.front.reply import Reply


class Quotes:
    """Answers quotes.

    Args:
        floor: The account's, in tokens.
    """

    def __init__(self, intake: Intake, gate: Gate, floor: int) -> None:
        self._intake = intake
        self._gate = gate
        self._floor = floor

    async def answer(self, request: web.BaseRequest) -> Reply:
        """Answer one: 200, whatever would become of the call itself."""
        facts = Facts(request_id(request), floor=self._floor)
        cancel_if_left(request)
        try:
            call = await self._intake.read_quoted(request, facts)
            refusal = await self._gate.judge(call, facts)
        except Refusal as failure:
            return refuse(request, failure, facts)
        return quote(request, refusal, facts, call.price.describe())
