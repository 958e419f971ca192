"""Private names of libraries: each stands in docs/private-names.md, and each is still there."""

import pytest

from unit.private_names import Use, find_uses, has_name, read_table


def test_the_table_is_what_the_code_uses():
    """The page has every private name that the code uses, and no other."""
    assert {Use(row.name, file) for row in read_table() for file in row.files} == find_uses()


@pytest.mark.parametrize("row", read_table(), ids=lambda row: row.name)
def test_the_library_still_has_the_name(row):
    """Every name of the page is one of its owner's in the installed version."""
    assert has_name(row.owner, row.name)


def test_a_name_that_is_gone_is_seen():
    """The look-up can fail: for a name that the class never had, and for one of another class."""
    assert not has_name("aiohttp.web_protocol.RequestHandler", "_messages_of_old")
    assert not has_name("redis.asyncio.connection.AbstractConnection", "_messages")
