"""SERVICE_POLICIES: what each service may spend, checked."""

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from gateway.settings.nearest import did_you_mean

SERVICE_NAME = re.compile(r"[a-z0-9_-]{1,40}")

DEFAULT = "default"
"""The name of the policy for all services without one of their own."""

_ENDPOINT = re.compile(r"[a-z0-9_-]{1,40}")
# Keepa takes 20 to 100 offers; a limit below would allow none.
_MIN_OFFERS, _MAX_OFFERS = 20, 100
# As for costs: a larger number is a typing error.
_MOST_TOKENS = 1_000_000_000
# How much of a wrong name an error repeats.
_SHOWN_CHARS = 60
# Fields that people set to 0 to block a service.
_CAPS = {"tokens_per_hour", "tokens_per_day", "max_cost", "max_concurrency"}
_TO_BLOCK = 'to block the service write "blocked": true'

Overdraft = Literal["never", "when_full"]
_Tokens = Annotated[int, Field(strict=True, ge=1, le=_MOST_TOKENS)]


class BadPolicies(ValueError):
    """One line that says which service, which field, and what is allowed."""


class Policy(BaseModel):
    """One service's limits; None: no limit of its own. Tokens are whole.

    Attributes:
        floor: The floor of this service, above that of the account.
        tokens_per_hour: The most that its calls may consume in one clock hour (UTC).
        tokens_per_day: The same for one day.
        max_cost: The most that one call may cost.
        max_concurrency: The most of its calls in flight, over all gateways.
        endpoints: The only ones that it may call.
        code_limit: The most products for each code of a look-up; added to calls without a limit.
        max_offers: The most offers that one call may ask for.
        overdraft: In place of OVERDRAFT.
        blocked: Whether all its calls are refused, free ones too.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    floor: Annotated[int, Field(strict=True, ge=-1_000_000, le=_MOST_TOKENS)] | None = None
    tokens_per_hour: _Tokens | None = None
    tokens_per_day: _Tokens | None = None
    max_cost: _Tokens | None = None
    max_concurrency: Annotated[int, Field(strict=True, ge=1, le=100_000)] | None = None
    endpoints: frozenset[str] | None = None
    code_limit: Annotated[int, Field(strict=True, ge=1, le=10_000)] | None = None
    max_offers: Annotated[int, Field(strict=True, ge=_MIN_OFFERS, le=_MAX_OFFERS)] | None = None
    overdraft: Overdraft | None = None
    blocked: Annotated[bool, Field(strict=True)] | None = None

    @property
    def caps(self) -> dict[str, int]:
        """The caps that are set, by name, in tokens."""
        caps = {"tokens_per_hour": self.tokens_per_hour, "tokens_per_day": self.tokens_per_day}
        return {name: tokens for name, tokens in caps.items() if tokens is not None}

    @field_validator("endpoints", mode="before")
    @classmethod
    def _read_endpoints(cls, value: Any) -> Any:
        if value is None:
            return None
        if not isinstance(value, list | set | frozenset) or not value:
            hint = "" if value else f"; {_TO_BLOCK}"
            raise ValueError(
                f'allowed is a list of one endpoint or more, as ["product", "deal"]{hint}'
            )
        for name in value:
            if not isinstance(name, str) or not _ENDPOINT.fullmatch(name):
                shown = f"{_quote(name)} is none" if isinstance(name, str) else "one is no text"
                raise ValueError(f"allowed are names of 1 to 40 of a-z, 0-9, _ and -; {shown}")
        return frozenset("deal" if name == "deals" else name for name in value)

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        hour, day, cost = self.tokens_per_hour, self.tokens_per_day, self.max_cost
        if hour is not None and day is not None and hour > day:
            raise ValueError(f"tokens_per_hour={hour} may not exceed tokens_per_day={day}")
        for name, cap in (("tokens_per_hour", hour), ("tokens_per_day", day)):
            if cost is not None and cap is not None and cost > cap:
                raise ValueError(f"max_cost={cost} may not exceed {name}={cap}")
        return self


class Policies:
    """Looks up the policy of a service.

    Args:
        policies: By service name; `default` for the rest.
    """

    def __init__(self, policies: Mapping[str, Policy]) -> None:
        self._all = dict(policies)
        self._rest = policies.get(DEFAULT, Policy())
        self._own = {name: policy for name, policy in policies.items() if name != DEFAULT}

    def of(self, service: str) -> Policy:
        """Return the service's policy."""
        return self._own.get(service, self._rest)

    def named(self) -> Iterable[str]:
        """Return the services that have a policy of their own."""
        return self._own.keys()

    def endpoints_named(self) -> Iterator[tuple[str, str]]:
        """Yield each listed endpoint with its service (or `default`), to check that it exists."""
        for service, policy in self._all.items():
            for endpoint in sorted(policy.endpoints or ()):
                yield service, endpoint


def read_policies(text: str, floor: int, services: Collection[str]) -> Policies:
    """Read SERVICE_POLICIES.

    Args:
        text: JSON, fields of `Policy` by service.
        floor: The account's, in tokens.
        services: Those that have keys; empty: anybody may call, under any name.

    Raises:
        BadPolicies: What is wrong with it.
    """
    try:
        given = json.loads(text, object_pairs_hook=_Object)
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, _Object):
        raise BadPolicies('allowed is a JSON object by service, as {"batch": {"floor": 300}}')
    if given.twice is not None:
        raise BadPolicies(f"service {_quote(given.twice)}: given twice")
    policies: dict[str, Policy] = {}
    for name, fields in given.items():
        try:
            _check_name(name, services)
            policies[name] = _read_policy(fields, floor)
        except BadPolicies as error:
            raise BadPolicies(f"service {_quote(name)}: {error}") from None
    return Policies(policies)


class _Object(dict[str, Any]):
    """A JSON object that notes a name that was given twice, of which JSON would drop the first."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        often = Counter(name for name, _ in pairs)
        self.twice = next((name for name, count in often.items() if count > 1), None)


def _check_name(name: str, services: Collection[str]) -> None:
    if not SERVICE_NAME.fullmatch(name):
        raise BadPolicies("allowed are names of 1 to 40 of a-z, 0-9, _ and -")
    if services and name != DEFAULT and name not in services:
        raise BadPolicies(
            "SERVICE_KEYS has no such name, so nobody could call under it"
            f"{did_you_mean(name, [*services, DEFAULT])}"
        )


def _read_policy(fields: Any, floor: int) -> Policy:
    if not isinstance(fields, _Object):
        raise BadPolicies('allowed is a JSON object of fields, as {"floor": 300}')
    if fields.twice is not None:
        raise BadPolicies(f"{_show(fields.twice)} given twice")
    try:
        policy = Policy.model_validate(fields)
    except ValidationError as error:
        raise BadPolicies(_describe(error)) from None
    if policy.floor is not None and policy.floor < floor:
        raise BadPolicies(
            f"floor={policy.floor} is below MIN_BALANCE_THRESHOLD={floor}, which holds for all"
        )
    return policy


def _describe(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    message = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        return message
    field = str(first["loc"][0])
    if first["type"] == "extra_forbidden":
        meant = did_you_mean(field, Policy.model_fields)
        return f"unknown field {_quote(field)}{meant}, allowed are {', '.join(Policy.model_fields)}"
    if first["type"] == "value_error":
        return f"{field}: {message}"
    value = first["input"]
    # Whatever has parts may be of any size and depth.
    shown = f"{field}={json.dumps(value)[:20]}" if isinstance(value, int | float | str) else field
    hint = f"; {_TO_BLOCK}" if field in _CAPS and value == 0 else ""
    return f"{shown}: {message[0].lower()}{message[1:]}{hint}"


def _show(field: str) -> str:
    return field if field in Policy.model_fields else _quote(field)


def _quote(name: str) -> str:
    """A name as JSON has it: on one line whatever it holds."""
    return json.dumps(name[:_SHOWN_CHARS])
