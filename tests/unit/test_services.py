"""Who is calling."""

import pytest

from gateway.call.services import ANONYMOUS, OTHER, Services
from gateway.errors import Unauthorized

KEYS = {"pricing": ("s3cret", "old-s3cret"), "research": ("other-s3cret",)}


@pytest.mark.parametrize(
    ("credentials", "claimed", "name"),
    [
        (["s3cret"], None, "pricing"),
        (["old-s3cret"], None, "pricing"),
        (["old-s3cret"], "research", "pricing"),
        (["wrong", "other-s3cret"], None, "research"),
        (["other-s3cret", "s3cret"], None, "research"),
        (["s3cret"], "research", "pricing"),
        (["s3cret"], "", "pricing"),
    ],
)
def test_first_known_key_names_the_service(credentials, claimed, name):
    """With keys, the first known one counts, and no claim beside it."""
    assert Services(KEYS).identify(credentials, claimed) == name


@pytest.mark.parametrize(
    "credentials", [[], [""], ["S3CRET"], ["s3cret "], ["pricing"], ["\udcff"], ["s3cre"]]
)
@pytest.mark.parametrize("claimed", [None, "pricing"])
def test_without_a_known_key_nobody_gets_in(credentials, claimed):
    """With keys, a call without a known one is refused whatever name it gives itself."""
    with pytest.raises(Unauthorized):
        Services(KEYS).identify(credentials, claimed)


@pytest.mark.parametrize(
    ("claimed", "name"),
    [
        (None, ANONYMOUS), ("", ANONYMOUS), ("pricing", "pricing"), ("a_b-9", "a_b-9"),
        ("x" * 40, "x" * 40), ("x" * 41, ANONYMOUS), ("Pricing", ANONYMOUS), ("a b", ANONYMOUS),
        ("a\n", ANONYMOUS), ("á", ANONYMOUS), ("a:b", ANONYMOUS), ("a|b", ANONYMOUS),
        ("unknown", "unknown"),
    ],
)  # fmt: skip
def test_without_keys_a_harmless_claim_counts(claimed, name):
    """Without keys everybody gets in under the name in X-Service-Name, if it is a plain one."""
    assert Services({}).identify(["any"], claimed) == name


def test_names_are_bounded():
    """The first fifty names stay themselves for ever; all later ones are `other`."""
    services = Services({})
    first = [services.identify([], f"name{number}") for number in range(50)]
    assert first == [f"name{number}" for number in range(50)]
    assert services.identify([], "late") == OTHER
    assert services.identify([], "name0") == "name0"
    assert services.identify([], None) == ANONYMOUS


def test_names_with_a_policy_are_always_known():
    """Without keys a service that has a policy keeps its name, however many came before it."""
    services = Services({}, known=["batch"])
    for number in range(50):
        assert services.identify([], f"name{number}") == f"name{number}"
    assert services.identify([], "late") == OTHER
    assert services.identify([], "batch") == "batch"


def test_a_policy_opens_no_door():
    """With keys, a name that has a policy gets nobody in."""
    with pytest.raises(Unauthorized):
        Services(KEYS, known=["pricing"]).identify([], "pricing")
