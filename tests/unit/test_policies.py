"""SERVICE_POLICIES: what is allowed, what a bad one is told, and whose policy is whose."""

import json

import pytest

from gateway.settings.policies import BadPolicies, Policies, Policy, read_policies

FLOOR = 10
KEYS = {"batch", "shop"}
FULL = {
    "floor": 300, "tokens_per_hour": 500, "tokens_per_day": 4000, "max_cost": 100,
    "max_concurrency": 4, "endpoints": ["product", "deals"], "code_limit": 5, "max_offers": 40,
    "overdraft": "when_full", "blocked": True,
}  # fmt: skip


def read(policies, services=KEYS):
    text = policies if isinstance(policies, str) else json.dumps(policies)
    return read_policies(text, FLOOR, services)


def refused(policies, services=KEYS):
    """Return the one line that bad policies are told."""
    with pytest.raises(BadPolicies) as caught:
        read(policies, services)
    line = str(caught.value)
    assert line.isprintable()
    return line


def test_every_field_is_read():
    """Each field of a policy is what the JSON says; `deals` is the `deal` endpoint."""
    policy = read({"batch": FULL}).of("batch")
    assert policy.model_dump() == {**FULL, "endpoints": {"product", "deal"}}
    assert set(FULL) == set(Policy.model_fields)


def test_a_field_that_is_left_out_or_null_is_no_limit():
    """Without a field, or with null, the service has no limit of its own."""
    policies = read({"batch": {}, "shop": dict.fromkeys(FULL)})
    assert policies.of("batch") == policies.of("shop") == Policy()
    assert set(Policy().model_dump().values()) == {None}


def test_default_is_for_those_without_a_policy():
    """`default` counts for services without a policy of their own, and adds nothing to theirs."""
    policies = read({"batch": {"max_cost": 7}, "default": {"floor": 50, "max_cost": 9}})
    assert policies.of("batch") == Policy(max_cost=7)
    assert policies.of("shop") == policies.of("anonymous") == Policy(floor=50, max_cost=9)
    assert list(policies.named()) == ["batch"]


def test_nobody_is_the_default():
    """A caller that names itself `default` has the policy that it would have anyway."""
    policies = read({"default": {"max_cost": 9}}, services=())
    assert policies.of("default") == policies.of("anything") == Policy(max_cost=9)


@pytest.mark.parametrize("policies", [Policies({}), read("{}"), read(" {\n} ")])
def test_without_policies_nobody_is_limited(policies):
    """An empty object limits nobody."""
    assert policies.of("batch") == Policy()
    assert list(policies.named()) == []
    assert list(policies.endpoints_named()) == []


def test_every_endpoint_can_be_looked_at():
    """`endpoints_named` has each endpoint of each list, those of `default` too."""
    policies = read(
        {
            "batch": {"endpoints": ["product", "deals", "deal"]},
            "shop": {"floor": 20},
            "default": {"endpoints": ["search"]},
        }
    )
    assert list(policies.endpoints_named()) == [
        ("batch", "deal"),
        ("batch", "product"),
        ("default", "search"),
    ]


@pytest.mark.parametrize("name", ["anonymous", "other", "a_b-9", "x" * 40])
def test_without_keys_any_name_may_have_a_policy(name):
    """Without keys everybody may call under any name, so each may have a policy."""
    assert list(read({name: {"max_cost": 5}}, services=()).named()) == [name]


@pytest.mark.parametrize("name", ["loft", "anonymous", "other"])
def test_with_keys_a_policy_needs_a_key(name):
    """A policy for a name that has no key could never apply, and is refused."""
    line = refused({"batch": {}, name: {"max_cost": 5}})
    assert line == f'service "{name}": SERVICE_KEYS has no such name, so nobody could call under it'


@pytest.mark.parametrize(
    "name", ["", "Batch", "a b", "a\n", "á", "a:b", "x" * 41, "\u2028", "\ud800", "{x}", "a\x1b[2J"]
)
@pytest.mark.parametrize("services", [KEYS, ()])
def test_a_malformed_name_is_refused_on_one_line(name, services):
    """A name that no service can have is named, harmlessly, whatever it holds."""
    line = refused({name: {}}, services)
    assert line.startswith(f"service {json.dumps(name)}: allowed are names of 1 to 40")


@pytest.mark.parametrize(
    "text", ["", "batch", "[]", '"x"', "null", "1", "{", "{'batch': {}}", "[" * 100_000, "\ufeff{}"]
)
def test_what_is_no_json_object_is_refused(text):
    """Anything but a JSON object is told what one looks like."""
    assert refused(text) == 'allowed is a JSON object by service, as {"batch": {"floor": 300}}'


@pytest.mark.parametrize("fields", [[], "floor", 300, None, True])
def test_a_policy_is_an_object(fields):
    """A service whose policy is no object is named."""
    assert refused({"batch": fields}).startswith('service "batch": allowed is a JSON object of')


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('{"batch": {}, "shop": {}, "batch": {"floor": 20}}', 'service "batch": given twice'),
        ('{"shop": {"floor": 20, "floor": 30}}', 'service "shop": floor given twice'),
        ('{"shop": {"x\\n": 1, "x\\n": 1}}', 'service "shop": "x\\n" given twice'),
    ],
)
def test_what_is_given_twice_is_refused(text, line):
    """A service or field given twice is refused: JSON alone would drop the first silently."""
    assert refused(text) == line


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        *((field, value, f"{field}={json.dumps(value)}: input should be a valid integer")
          for field in ("floor", "tokens_per_hour", "tokens_per_day", "max_cost",
                        "max_concurrency", "code_limit", "max_offers")
          for value in (20.5, 20.0, "20", True, float("inf"))),
        *((field, 0, f"{field}=0: input should be greater than or equal to 1")
          for field in ("tokens_per_hour", "tokens_per_day", "max_cost", "max_concurrency",
                        "code_limit")),
        *((field, 10**10, f"{field}=10000000000: input should be less than")
          for field in ("floor", "tokens_per_hour", "tokens_per_day", "max_cost",
                        "max_concurrency", "code_limit")),
        ("max_offers", 19, "max_offers=19: input should be greater than or equal to 20"),
        ("max_offers", 101, "max_offers=101: input should be less than or equal to 100"),
        ("max_cost", [1], "max_cost: input should be a valid integer"),
        ("max_cost", {"a": 1}, "max_cost: input should be a valid integer"),
        ("overdraft", "always", "overdraft=\"always\": input should be 'never' or 'when_full'"),
        ("overdraft", True, "overdraft=true: input should be 'never' or 'when_full'"),
        ("endpoints", [], "endpoints: allowed is a list of one endpoint or more"),
        *((field, 0, 'greater than or equal to 1; to block the service write "blocked": true')
          for field in ("tokens_per_hour", "tokens_per_day", "max_cost", "max_concurrency")),
        ("endpoints", [], 'as ["product", "deal"]; to block the service write "blocked": true'),
        *(("blocked", value, "input should be a valid boolean") for value in (1, 0, "true", "yes")),
        ("token_per_day", 5, 'unknown field "token_per_day"; did you mean "tokens_per_day"?'),
        ("max-cost", 5, 'unknown field "max-cost"; did you mean "max_cost"?'),
        ("endpoints", "product", "endpoints: allowed is a list"),
        ("endpoints", {"product": 1}, "endpoints: allowed is a list"),
        ("endpoints", ["product", "a b"], "endpoints: allowed are names of 1 to 40 of a-z"),
        ("endpoints", ["product", "a b"], '; "a b" is none'),
        ("endpoints", ["Product"], '"Product" is none'),
        ("endpoints", ["x" * 41], f'"{"x" * 41}" is none'),
        ("endpoints", [None], "one is no text"),
        ("endpoints", [["product"]], "one is no text"),
        ("color", 1, 'unknown field "color", allowed are floor, tokens_per_hour'),
        ("Floor", 20, 'unknown field "Floor"'),
        ("_all", 20, 'unknown field "_all"'),
        ("a\nb{x}", 20, 'unknown field "a\\nb{x}"'),
        ("x" * 1000, 20, f'unknown field "{"x" * 60}"'),
        ("floor", 9, "floor=9 is below MIN_BALANCE_THRESHOLD=10"),
        ("floor", -1, "floor=-1 is below MIN_BALANCE_THRESHOLD=10"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("service", ["batch", "default"])
def test_a_bad_field_is_named_with_its_service(service, field, value, told):
    """A bad field is told with its service, its value, and what is allowed."""
    line = refused({service: {field: value}})
    assert line.startswith(f'service "{service}": ')
    assert told in line


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"tokens_per_hour": 101, "tokens_per_day": 100}, "tokens_per_hour=101 may not exceed"),
        ({"max_cost": 101, "tokens_per_hour": 100}, "max_cost=101 may not exceed tokens_per_hour"),
        ({"max_cost": 101, "tokens_per_day": 100}, "max_cost=101 may not exceed tokens_per_day"),
    ],
)
def test_limits_that_contradict_each_other_are_refused(fields, told):
    """A limit that another one makes meaningless is a slip, and is refused; equal ones are not."""
    assert refused({"batch": fields}).startswith(f'service "batch": {told}')
    assert read({"batch": dict.fromkeys(fields, 100)}).of("batch").model_dump(exclude_none=True)


def test_the_floors_equal_is_taken():
    """A service's floor may be the account's own, which may be negative."""
    assert read({"batch": {"floor": FLOOR}}).of("batch").floor == FLOOR
    text = '{"batch": {"floor": -50}}'
    assert read_policies(text, -50, KEYS).of("batch").floor == -50


def test_a_mistyped_service_is_told_the_nearest():
    """With keys a policy's name has to be one of theirs, or `default`; the nearest is told."""
    assert 'did you mean "batch"?' in refused({"batsh": {}}, ["batch", "shop"])
    assert 'did you mean "default"?' in refused({"defaults": {}}, ["batch", "shop"])
    assert "did you mean" not in refused({"loft": {}}, ["batch", "shop"])
