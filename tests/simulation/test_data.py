"""The stories' own Redis engine answers as the embedded store's does."""

import random

import fakeredis
import pytest
import redis

from simulation.data import CommandError, Data

KEYS = (b"h", b"z", b"l", b"s")
FIELDS = (b"a", b"b", b"c", b"d", b"e")


def _draw(chance: random.Random) -> list[bytes]:
    key = chance.choice(KEYS)
    field, other = chance.choice(FIELDS), chance.choice(FIELDS)
    number = b"%d" % chance.randint(-5, 20)
    low, high = b"%d" % chance.randint(-2, 6), b"%d" % chance.randint(3, 12)
    if chance.random() < 0.3:
        low, high = chance.choice(((b"-inf", high), (b"(" + low, b"+inf"), (low, b"(" + high)))
    limit = (b"LIMIT", b"%d" % chance.randint(0, 2), b"%d" % chance.randint(1, 3))
    first, last = b"%d" % chance.randint(-4, 3), b"%d" % chance.randint(-3, 5)
    return list(
        chance.choice(
            (
                (b"HSET", b"h", field, number, other, number), (b"HGET", b"h", field),
                (b"HMGET", b"h", field, b"none"), (b"HDEL", b"h", field, other),
                (b"HLEN", b"h"), (b"HINCRBY", b"h", field, number), (b"HGETALL", b"h"),
                (b"HEXISTS", b"h", field), (b"HSETNX", b"h", field, number),
                (b"HSCAN", b"h", b"0", b"COUNT", b"1000"), (b"HINCRBY", b"h", field, b"-0"),
                (b"ZADD", b"z", number, field), (b"ZADD", b"z", b"NX", number, field),
                (b"ZADD", b"z", b"XX", number, field, b"7", other), (b"ZREM", b"z", field, other),
                (b"ZCARD", b"z"), (b"ZSCORE", b"z", field), (b"ZCOUNT", b"z", low, high),
                (b"ZRANGE", b"z", first, last, b"WITHSCORES"), (b"ZREVRANGE", b"z", first, last),
                (b"ZRANGEBYSCORE", b"z", low, high, b"WITHSCORES", *limit),
                (b"ZRANGEBYSCORE", b"z", low, high), (b"ZREMRANGEBYSCORE", b"z", low, high),
                (b"ZREMRANGEBYRANK", b"z", first, last), (b"ZRANK", b"z", field),
                (b"LPUSH", b"l", field), (b"RPUSH", b"l", field, other), (b"LPOP", b"l"),
                (b"LRANGE", b"l", first, last), (b"LTRIM", b"l", first, last), (b"LLEN", b"l"),
                (b"LINDEX", b"l", first), (b"SET", b"s", number), (b"GET", b"s"),
                (b"INCRBY", b"s", number), (b"EXISTS", key), (b"DEL", key), (b"TTL", key),
                (b"EXPIRE", key, b"100"), (b"HGET", b"z", field), (b"LLEN", b"h"),
            )
        )
    )  # fmt: skip


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return [_plain(part) for pair in value.items() for part in pair]
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return bytes(value) if isinstance(value, bytes) else value


def _pairs(scanned: list) -> list:
    cursor, found = scanned
    return [int(cursor), sorted(zip(found[::2], found[1::2], strict=True))]


@pytest.mark.parametrize("seed", range(4))
def test_commands_answer_as_the_embedded_engine(seed):
    """Any order of commands: the same replies, the same refusals, the same keys in the end."""
    chance = random.Random(seed)
    data = Data(lambda: 1_800_000_000_000_000)
    other = fakeredis.FakeRedis(protocol=2)
    # Parsed replies are redis-py's; here are those of the server.
    other.response_callbacks.clear()
    for _ in range(600):
        words = _draw(chance)
        try:
            mine: object = _plain(data.run(words[0], words[1:]))
        except CommandError as error:
            mine = str(error).partition(" ")[0]
        try:
            theirs: object = _plain(other.execute_command(*words))
        except redis.exceptions.RedisError as error:
            text = str(error)
            theirs = text.partition(" ")[0] if text.startswith("WRONGTYPE") else "ERR"
        if words[0] == b"HSCAN":
            # In any order.
            mine, theirs = _pairs(mine), _pairs(theirs)
        assert mine == theirs, words
    assert sorted(data.keys) == sorted(other.keys())


def test_a_scan_tells_of_all_that_stays():
    """However many fields go between two steps, those that stay are told."""
    data = Data(lambda: 0)
    for number in range(1000):
        data.run(b"HSET", [b"h", b"%d" % number, b"x"])
    seen, cursor = set(), b"0"
    while True:
        cursor, found = data.run(b"HSCAN", [b"h", cursor, b"COUNT", b"50"])
        seen.update(found[::2])
        for field in found[::4]:
            data.run(b"HDEL", [b"h", field])
        if cursor == b"0":
            break
    assert {b"%d" % number for number in range(1000)} == seen


def test_expired_keys_are_gone():
    """A key is gone at its end, by the server's own clock."""
    now = [0]
    data = Data(lambda: now[0])
    data.run(b"SET", [b"s", b"1", b"PX", b"1500"])
    now[0] = 1_400_000
    assert data.run(b"GET", [b"s"]) == b"1"
    now[0] = 1_500_000
    assert data.run(b"GET", [b"s"]) is None
