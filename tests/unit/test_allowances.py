"""What a service may do: its terms with the ledger, and what is objected to a call alone."""

from __future__ import annotations

import pytest

from gateway.call.allowances import Allowance, Allowances
from gateway.errors import CodeLimit, EndpointNotAllowed, MaxCost, MaxOffers, ServiceBlocked
from gateway.keepa.costs import CostTable
from gateway.ledger import Terms
from gateway.settings.policies import Policies, Policy

FLOOR = 10


def allowance(**fields):
    return Allowance(Policy(**fields), FLOOR, "never")


def objection(query="", endpoint="product", **fields):
    """Return what is objected to such a call."""
    return allowance(**fields).objection(CostTable({}).price(endpoint, query, b""))


def test_without_a_policy_only_the_account_counts():
    """The account's floor and nothing else, which costs the ledger's script nothing to read."""
    terms = allowance().terms
    assert terms == Terms(FLOOR)
    assert terms.record == "10|0|0|0|0|0"


@pytest.mark.parametrize(
    ("own", "floor", "is_own"), [(None, 10, False), (10, 10, False), (11, 11, True), (5, 10, False)]
)
def test_the_higher_floor_holds(own, floor, is_own):
    """A service's floor is its own only where it stops it earlier than the account's."""
    terms = allowance(floor=own).terms
    assert (terms.floor, terms.is_own_floor) == (floor, is_own)


@pytest.mark.parametrize(("own", "floor", "is_own"), [(None, -50, False), (-20, -20, True)])
def test_a_floor_may_be_below_0(own, floor, is_own):
    """An account in debt by choice has services that stop earlier all the same."""
    terms = Allowance(Policy(floor=own), -50, "never").terms
    assert (terms.floor, terms.is_own_floor) == (floor, is_own)


def test_caps_become_terms():
    """Each cap is the ledger's to keep, in the order that its script reads them."""
    terms = allowance(floor=300, tokens_per_hour=500, tokens_per_day=4000, max_concurrency=3).terms
    assert terms == Terms(300, True, 500, 4000, 3, overdraft=False)
    assert terms.record == "300|1|500|4000|3|0"


@pytest.mark.parametrize(
    ("account", "own", "may"),
    [
        ("never", None, False),
        ("when_full", None, True),
        ("never", "when_full", True),
        ("when_full", "never", False),
    ],
)
def test_a_services_overdraft_stands_in_place_of_the_accounts(account, own, may):
    """The account's rule is for those services that have none."""
    assert Allowance(Policy(overdraft=own), FLOOR, account).terms.overdraft is may


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("asin=B1&offers=100", {}),
        ("code=1", {"code_limit": 5, "max_offers": 20, "max_cost": 10, "endpoints": ["product"]}),
        ("asin=B1&offers=20", {"max_offers": 20, "max_cost": 12}),
        ("code=1&code-limit=5", {"code_limit": 5, "max_cost": 5}),
        ("asin=B1", {"blocked": False}),
    ],
)
def test_nothing_is_objected_to_what_is_within_all_limits(query, fields):
    """Up to each limit, itself included, and whatever has none."""
    assert objection(query, **fields) is None


@pytest.mark.parametrize(
    ("query", "fields", "refusal"),
    [
        ("asin=B1", {"endpoints": ["deal", "search"]}, EndpointNotAllowed),
        ("asin=B1&offers=21", {"max_offers": 20}, MaxOffers),
        ("code=1&code-limit=6", {"code_limit": 5}, CodeLimit),
        ("asin=B1&offers=20", {"max_cost": 11}, MaxCost),
        # The first of several that a caller would have to change.
        (
            "code=1&code-limit=6&offers=100",
            {"endpoints": ["deal"], "max_offers": 20, "code_limit": 5, "max_cost": 1},
            EndpointNotAllowed,
        ),
        (
            "code=1&code-limit=6&offers=100",
            {"max_offers": 20, "code_limit": 5, "max_cost": 1},
            MaxOffers,
        ),
        ("code=1&code-limit=6", {"code_limit": 5, "max_cost": 1}, CodeLimit),
        ("asin=B1", {"blocked": True, "endpoints": ["deal"], "max_cost": 1}, ServiceBlocked),
    ],
)
def test_what_is_over_a_limit_is_objected_to(query, fields, refusal):
    """One more than the limit is refused for good, and it is said which limit."""
    refused = objection(query, **fields)
    assert type(refused) is refusal
    assert not refused.retryable


@pytest.mark.parametrize(
    ("query", "fields", "asked", "limit"),
    [
        ("asin=B1&offers=100", {"max_offers": 20}, 100, 20),
        ("code=1&code-limit=60", {"code_limit": 5}, 60, 5),
        ("asin=B1,B2,B3", {"max_cost": 2}, 3, 2),
    ],
)
def test_an_objection_names_what_was_asked_and_what_is_allowed(query, fields, asked, limit):
    """Both numbers stand in its message."""
    message = str(objection(query, **fields))
    assert f" {asked} " in message
    assert message.endswith(f" {limit}")


def test_an_endpoint_is_known_by_its_prices_name():
    """`deals` in a list allows `/deal`, and a list allows what is in it only."""
    assert objection(endpoint="deal", endpoints=["deals"]) is None
    assert type(objection(endpoint="search", endpoints=["deals"])) is EndpointNotAllowed
    assert type(objection(endpoint="unheard", endpoints=["deals"])) is EndpointNotAllowed


def test_everybody_may_ask_for_the_balance():
    """`/token` is free and answered from the ledger: no list keeps a stock client from it."""
    assert objection(endpoint="token", endpoints=["deal"]) is None


def test_each_service_has_its_own():
    """By name, or by `default`; looked up once."""
    policies = Policies({"batch": Policy(floor=300), "default": Policy(max_concurrency=4)})
    allowances = Allowances(policies, FLOOR, "when_full")
    assert allowances.of("batch").terms == Terms(300, is_own_floor=True, overdraft=True)
    assert allowances.of("shop").terms == Terms(FLOOR, max_concurrency=4, overdraft=True)
    assert allowances.of("shop") is allowances.of("shop")
