"""The cookie that the login form gives."""

import time
from http.cookies import SimpleCookie

import pytest
from aiohttp.test_utils import make_mocked_request

from gateway.views.dashboard.sessions import Sessions


def cookie_of(set_cookie):
    [(name, morsel)] = SimpleCookie(set_cookie).items()
    return f"{name}={morsel.value}"


def asking(cookie):
    return make_mocked_request("GET", "/dashboard", headers={"Cookie": cookie})


def test_session_ends_after_twelve_hours(monkeypatch):
    """A cookie is good for twelve hours, and not a second longer."""
    sessions = Sessions("let-me-in")
    cookie = cookie_of(sessions.begin(is_secure=False))
    now = time.time()
    for passed, is_good in ((0, True), (12 * 3600 - 2, True), (12 * 3600 + 1, False)):
        monkeypatch.setattr(time, "time", lambda passed=passed: now + passed)
        assert (sessions.end_of(asking(cookie)) is not None) == is_good


def test_cookie_does_not_tell_the_token():
    """Neither the token nor a plain digest of it is in the cookie, and no two are the same."""
    sessions = Sessions("let-me-in")
    cookies = {sessions.begin(is_secure=False) for _ in range(3)}
    assert len(cookies) == 3
    assert not any("let-me-in" in cookie for cookie in cookies)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda value: "9" + value,
        lambda value: value[:-1],
        lambda value: value + "0",
        lambda value: value.rpartition(".")[0],
        lambda value: "." + value.rpartition(".")[2],
        lambda value: "",
        lambda value: "..",
        lambda value: "1e9.x.y",
    ],
)
def test_spoilt_cookie_is_none(spoil):
    """A cookie with any part changed is no session, and no fault either."""
    sessions = Sessions("let-me-in")
    name, _, value = cookie_of(sessions.begin(is_secure=False)).partition("=")
    assert sessions.end_of(asking(f"{name}={spoil(value)}")) is None
    assert sessions.end_of(asking(f"{name}={value}")) is not None


def test_all_replicas_take_it_and_a_new_token_ends_it():
    """Gateways with the same token know each other's cookies; with another token they are void."""
    cookie = cookie_of(Sessions("let-me-in").begin(is_secure=False))
    assert Sessions("let-me-in").end_of(asking(cookie)) is not None
    assert Sessions("changed").end_of(asking(cookie)) is None
