"""ADMIN_TOKEN: who has it gets in at once, who guesses is slow, limited and logged."""

import asyncio
import time

import pytest
from support.callers.refusals import read_refusal

from gateway.views import admin

TOKEN = "let-me-in-0123456789"
PATHS = ["/status", "/usage", "/metrics", "/dashboard", "/dashboard/events"]
OFFERED = [
    f"Authorization: Bearer {TOKEN}", f"X-Api-Key: {TOKEN}",
    "Authorization: Basic cHJvbTpsZXQtbWUtaW4tMDEyMzQ1Njc4OQ==",
]  # fmt: skip


@pytest.fixture
async def guarded(serve, simulator):
    return await serve(simulator, admin_token=TOKEN)


@pytest.mark.parametrize("path", PATHS)
async def test_guesses_are_slow_and_the_token_is_not(guarded, path):
    """A wrong token is answered a second later, no token and the right one at once, meanwhile."""
    began_at = time.monotonic()
    guesses = [
        asyncio.create_task(guarded.ask(path, f"Authorization: Bearer guess{n}", method="HEAD"))
        for n in range(8)
    ]
    await asyncio.sleep(0.1)
    for header in OFFERED:
        assert (await guarded.ask(path, header, method="HEAD")).status == 200
    assert (await guarded.ask(path, method="HEAD")).status == 401
    assert not any(guess.done() for guess in guesses)
    assert {(await guess).status for guess in guesses} == {401}
    assert 0.9 < time.monotonic() - began_at < 5


async def test_guesses_beyond_the_bound_are_refused_at_once(guarded, monkeypatch):
    """So many wrong tokens wait; further ones are a 429, and the right one passes all the same."""
    monkeypatch.setattr(admin, "_WRONG_AT_MOST", 3)
    guesses = [
        asyncio.create_task(guarded.ask("/status", f"Authorization: Bearer guess{n}"))
        for n in range(3)
    ]
    await asyncio.sleep(0.2)
    told = (await guarded.ask("/status", "Authorization: Bearer one-more")).json()
    assert (told["reason"], told["retry_after_seconds"]) == ("rate_limited", 2)
    assert (await guarded.ask("/status", OFFERED[0])).status == 200
    for guess in guesses:
        read_refusal(await guess, 401, "unauthorized")


async def test_guesses_are_logged_but_not_each(guarded, log):
    """One line tells of a guess, with its path and address; what follows is counted."""
    await asyncio.gather(
        *(guarded.ask(path, "Authorization: Bearer guessed-it") for path in PATHS),
        guarded.ask("/dashboard/login", method="POST", body=b"token=guessed-it"),
        guarded.ask("/status"),
    )
    [line] = [event for event in log if event["event"] == "admin_token_refused"]
    assert line["path"] in {*PATHS, "/dashboard/login"}
    assert (line["address"], line["guesses"], line["log_level"]) == ("127.0.0.1", 1, "warning")
    assert "guessed-it" not in str(log)
