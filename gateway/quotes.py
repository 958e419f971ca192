"""`/quote`: what a call would cost and whether it would run now, consuming nothing."""

from aiohttp import web

from gateway.answers import quote, refuse
from gateway.door import cancel_if_left
from gateway.errors import Refusal
from gateway.facts import Facts
from gateway.gate import Gate
from gateway.headers import request_id
from gateway.intake import Intake
from gateway.reply import Reply


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
        facts = Facts(request_id(request.headers), floor=self._floor)
        cancel_if_left(request)
        try:
            call = await self._intake.read_quoted(request, facts)
            refusal = await self._gate.judge(call, facts)
        except Refusal as failure:
            return refuse(request, failure, facts)
        return quote(request, refusal, facts, call.price.describe())
