"""Records of requests, as far as a test wants them known."""

from gateway.balance import UNKNOWN
from gateway.front.record import Record, Unread


def make_record(balance=UNKNOWN, *, max_items_now=None, request_id="id-1", **asked):
    """A record; `asked` is what is known of the call: endpoint, service, required_tokens, ..."""
    record = Record(request_id, Unread(**asked))
    record.balance = balance
    record.max_items_now = max_items_now
    return record
