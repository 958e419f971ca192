"""Usage as a table for people."""

import orjson
import pytest

from gateway.commands.usage_table import NoAnswer, draw_table, own_url

PERIOD = {"from": "2026-11-21T13:00:00Z", "to": "2026-11-22T14:00:00Z"}


def test_numbers_stand_under_each_other():
    """Names on the left, numbers on the right, the total below, all aligned."""
    rows = [
        {
            "service": "shop",
            "endpoint": "bestsellers",
            "tokens": 12_345,
            "calls": 246,
            "refusals": 0,
        },
        {"service": "a", "endpoint": "product", "tokens": 3, "calls": 3, "refusals": 1_200},
    ]
    total = {"tokens": 12_348, "calls": 249, "refusals": 1_200, "tokens_lost": 4_000}
    body = orjson.dumps({**PERIOD, "by": ["service", "endpoint"], "rows": rows, "total": total})
    assert draw_table(body).split("\n") == [
        "2026-11-21T13:00:00Z to 2026-11-22T14:00:00Z",
        "",
        "service  endpoint     tokens  calls  refusals",
        "---------------------------------------------",
        "shop     bestsellers  12,345    246         0",
        "a        product           3      3     1,200",
        "---------------------------------------------",
        "total                 12,348    249     1,200",
        "",
        "Tokens lost to a full bucket: 4,000",
    ]


def test_rows_by_time_alone_tell_what_was_lost_in_it():
    """Where a row is nobody's, what a full bucket lost stands in it."""
    row = {"day": "2026-11-22", "tokens": 5, "calls": 1, "refusals": 0, "tokens_lost": 80}
    total = {name: row[name] for name in row if name != "day"}
    table = draw_table(orjson.dumps({**PERIOD, "by": ["day"], "rows": [row], "total": total}))
    assert table.split("\n")[2:5:2] == [
        "day         tokens  calls  refusals  tokens lost",
        "2026-11-22       5      1         0           80",
    ]


def test_nothing_used_is_a_table_too():
    """Without any row there is the total: nothing."""
    total = dict.fromkeys(("tokens", "calls", "refusals", "tokens_lost"), 0)
    table = draw_table(orjson.dumps({**PERIOD, "by": ["service"], "rows": [], "total": total}))
    assert table.split("\n")[2] == "service  tokens  calls  refusals"
    assert table.split("\n")[-3] == "total         0      0         0"


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"<html>", b'{"rows": []}', b"1"])
def test_another_server_s_answer_is_told(body):
    """What is no gateway's answer is one line, not a traceback."""
    with pytest.raises(NoAnswer, match="no gateway's"):
        draw_table(body)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8080"),
        ("0.0.0.0", "http://127.0.0.1:8080"),
        ("::", "http://[::1]:8080"),
        ("[::1]", "http://[::1]:8080"),
        ("fe80::1", "http://[fe80::1]:8080"),
        ("gateway.internal", "http://gateway.internal:8080"),
    ],
)
def test_a_gateway_is_reached_where_it_listens(host, url):
    """Whoever listens everywhere is reached on this machine."""
    assert own_url(host, 8080) == url


def test_any_free_port_is_no_address():
    """Where a gateway with PORT=0 listens, only its log knows."""
    with pytest.raises(NoAnswer, match="--url"):
        own_url("127.0.0.1", 0)
