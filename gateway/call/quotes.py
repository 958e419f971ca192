"""`/quote`: what a call would cost and whether it would run now, consuming nothing."""

from gateway.call.gate import Gate
from gateway.call.intake import Intake
from gateway.errors import Refusal
from gateway.front.own_responses import quote, refuse
from gateway.front.record import Record, Unread
from gateway.front.request import Request
from gateway.front.response import Response


class Quotes:
    """Answers quotes.

    Args:
        floor: The account's, in tokens.
    """

    def __init__(self, intake: Intake, gate: Gate, floor: int) -> None:
        self._intake = intake
        self._gate = gate
        self._floor = floor

    async def answer(self, request: Request) -> Response:
        """Answer one: 200, whatever would become of the call itself."""
        record = Record(request.request_id, Unread(self._floor))
        request.connection.cancel_if_left()
        try:
            asked = record.asked = await self._intake.read_quoted(request)
            refusal = await self._gate.judge(asked, record)
        except Refusal as failure:
            return refuse(request, failure, record)
        return quote(request, refusal, record, asked.price.describe())
