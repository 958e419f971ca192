"""Every setting, its default, its meaning and its limits. The environment is read here only."""

import hashlib
import json
import re
from collections.abc import Mapping
from functools import cached_property
from ipaddress import ip_address
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from gateway.errors import BadSetting
from gateway.policies import BadPolicies, Overdraft, Policies, read_policies
from gateway.redis_url import BadRedisUrl, read_redis_url
from gateway.service_keys import BadServiceKeys, read_service_keys

SIMULATOR = "simulator"

# No call of Keepa's comes near; a larger number is a slip of the finger.
_DEAREST = 1_000_000
_ENDPOINT = re.compile(r"[a-z0-9_-]{1,40}")
_SECRET = {"keepa_api_key", "redis_url", "service_keys", "admin_token", "alert_webhook_url"}
# What stands behind the host of a webhook's URL is what makes it a secret; a word of the language
# as short as this is none, and would be masked in every line.
_SHORTEST_SECRET = 12


def _refuse(allowed: str) -> PydanticCustomError:
    # Braces would be read as a template's.
    return PydanticCustomError("setting", "{allowed}", {"allowed": allowed})


class Settings(BaseSettings):
    """The gateway's settings, one field per environment variable (the name in upper case)."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    keepa_api_key: SecretStr = Field(
        SecretStr(""),
        description="the one real Keepa key; required unless the upstream is the simulator",
    )
    keepa_base_url: str = Field(
        "https://api.keepa.com",
        description="upstream; `simulator` starts the built-in one in-process",
    )
    redis_url: SecretStr = Field(
        SecretStr(""),
        description="`redis://`, `rediss://`, `unix://`, `valkey://`, "
        "`redis+sentinel://user:pw@h1:26379,h2:26379/mymaster/0` or "
        "`redis+cluster://user:pw@h1:7000,h2:7001` (both also with `rediss+`); "
        "empty: the embedded store, one process only",
    )
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8080, ge=0, le=65535, description="port to listen on")
    min_balance_threshold: int = Field(
        10,
        ge=-1_000_000,
        le=1_000_000_000,
        description="the floor: no admitted call takes the balance below it; "
        "may be negative (a deliberate deficit)",
    )
    safety_buffer: int = Field(
        20, ge=-1_000_000, le=1_000_000_000, description="below it: a warning in log and metrics"
    )
    alert_balance: int = Field(
        50,
        ge=-1_000_000,
        le=1_000_000_000,
        description="below it: the alert (at the webhook, where there is one)",
    )
    endpoint_costs: Annotated[Mapping[str, int], NoDecode] = Field(
        default_factory=dict,
        description='JSON, overrides the base cost of endpoints, as in `{"deal": 5}`; '
        "per item where calls have items",
    )
    balance_max_age_seconds: float = Field(
        60, ge=1, le=3600, description="an older observation is refreshed from `/token`"
    )
    rate_limit_per_minute: int = Field(
        20, ge=0, le=1_000_000, description="request rate that all callers share; 0: off"
    )
    rate_limit_burst: int = Field(
        200,
        ge=0,
        le=1_000_000,
        description="requests that may come at once after quiet time; 0: no request rate",
    )
    max_concurrency: int = Field(
        100, ge=1, le=10_000, description="calls to Keepa in flight, per gateway"
    )
    max_queue: int = Field(
        2000, ge=0, le=100_000, description="calls waiting for such a slot, per gateway"
    )
    upstream_timeout_seconds: float = Field(
        120, ge=1, le=3600, description="from reservation to the answer's last byte"
    )
    upstream_retries: int = Field(
        3,
        ge=0,
        le=10,
        description="further attempts at a call: where Keepa surely charged nothing, "
        "or with a reservation of its own",
    )
    breaker_failures: int = Field(
        5,
        ge=1,
        le=1000,
        description="calls in a row without an answer that open the circuit to Keepa; so many "
        "answers with a 5xx, if half of the latest, that of a service's endpoint",
    )
    breaker_cooldown_seconds: float = Field(
        30,
        gt=0,
        le=3600,
        description="how long an open circuit refuses before it is tried again",
    )
    reservation_ttl_seconds: float | None = Field(
        None,
        ge=1,
        le=7200,
        description="life of a hold that nobody settles; must exceed the upstream time-out; "
        "empty: that time-out + 30",
    )
    service_keys: Annotated[Mapping[str, tuple[SecretStr, ...]], NoDecode] = Field(
        default_factory=dict,
        description="`name:secret,name:secret`: who may call; a name may have two secrets, "
        "`name:new,name:old`, while they are changed",
    )
    service_policies: str = Field(
        "{}",
        description='JSON by service, as in `{"batch": {"floor": 300}}`, `default` for the rest: '
        "`floor`, `tokens_per_hour`, `tokens_per_day`, `max_cost`, `max_concurrency`, "
        "`endpoints`, `code_limit`, `max_offers`, `overdraft`",
    )
    overdraft: Overdraft = Field(
        "never",
        description="`never`, or `when_full`: a call dearer than the bucket may run, alone, "
        "from a full one",
    )
    alert_webhook_url: SecretStr = Field(
        SecretStr(""),
        description="http(s) URL that alerts are posted to as JSON, a secret; empty: none are",
    )
    account: str = Field("", description="names the ledger in Redis; empty: a digest of the key")
    allow_anonymous: bool = Field(
        default=False,
        description="without `SERVICE_KEYS`, a `HOST` other than loopback is refused unless true",
    )
    admin_token: SecretStr = Field(
        SecretStr(""),
        description="when set, the bearer token for `/status`, `/dashboard`, `/usage` and "
        "`/metrics`",
    )
    default_wait_seconds: float = Field(
        0,
        ge=0,
        le=3600,
        description="how long a call waits for tokens instead of a 429, where it does not say",
    )
    max_wait_seconds: float = Field(
        60, ge=0, le=3600, description="the longest that a call may wait, whatever it says"
    )
    enforce: bool = Field(
        default=True,
        description="false: shadow mode, would-be denials are counted and the call goes through",
    )
    drain_seconds: float = Field(
        2, ge=0, le=300, description="after SIGTERM: not ready, still listening"
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="`DEBUG`, `INFO`, `WARNING` or `ERROR`"
    )
    log_format: Literal["json", "console"] = Field(
        "json", description="`json`, or `console` for people"
    )

    @field_validator("keepa_base_url")
    @classmethod
    def _check_base_url(cls, value: str) -> str:
        if value == SIMULATOR:
            return value
        try:
            url = urlsplit(value)
            _ = url.port
        except ValueError:
            raise _refuse("`simulator` or an http(s) URL") from None
        if url.scheme not in {"http", "https"} or not url.hostname or url.query or url.fragment:
            raise _refuse("`simulator` or an http(s) URL without query, as https://api.keepa.com")
        if url.username or url.password:
            raise _refuse("a URL without user and password")
        return value.rstrip("/")

    @field_validator("redis_url")
    @classmethod
    def _check_redis_url(cls, value: SecretStr) -> SecretStr:
        text = value.get_secret_value()
        if text:
            try:
                read_redis_url(text)
            except BadRedisUrl as error:
                raise _refuse(str(error)) from None
        return value

    @field_validator("alert_webhook_url")
    @classmethod
    def _check_webhook_url(cls, value: SecretStr) -> SecretStr:
        text = value.get_secret_value()
        allowed = "an http(s) URL, percent-encoded, as https://alerts.example/hook"
        try:
            url = urlsplit(text)
            _ = url.port
        except ValueError:
            raise _refuse(allowed) from None
        is_good = url.scheme in {"http", "https"} and url.hostname and not url.fragment
        if text and not (is_good and re.fullmatch(r"[!-~]+", text)):
            raise _refuse(allowed)
        return value

    @field_validator("endpoint_costs", mode="before")
    @classmethod
    def _parse_endpoint_costs(cls, value: Any) -> Any:
        allowed = 'a JSON object of endpoint names and whole tokens of 0 or more, as {"deal": 5}'
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                raise _refuse(allowed) from None
        if not isinstance(value, Mapping):
            raise _refuse(allowed)
        for name, cost in value.items():
            if not _ENDPOINT.fullmatch(name) or type(cost) is not int or not 0 <= cost <= _DEAREST:
                raise _refuse(allowed)
        return {"deal" if name == "deals" else name: cost for name, cost in value.items()}

    @field_validator("service_keys", mode="before")
    @classmethod
    def _parse_service_keys(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            keys = read_service_keys(value)
        except BadServiceKeys as error:
            raise _refuse(str(error)) from None
        return {name: [SecretStr(secret) for secret in secrets] for name, secrets in keys.items()}

    @field_validator("account")
    @classmethod
    def _check_account(cls, value: str) -> str:
        if value and not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", value):
            raise _refuse("1 to 64 of A-Z, a-z, 0-9, dot, _ and -")
        return value

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        key = self.keepa_api_key.get_secret_value()
        if not key.strip() and not self.simulated:
            raise BadSetting(
                "KEEPA_API_KEY is empty: the key of your Keepa account is required "
                "(or KEEPA_BASE_URL=simulator to try the gateway without one)"
            )
        if self.hold_seconds <= self.upstream_timeout_seconds:
            raise BadSetting(
                f"RESERVATION_TTL_SECONDS={self.hold_seconds:g}: must exceed "
                f"UPSTREAM_TIMEOUT_SECONDS={self.upstream_timeout_seconds:g}"
            )
        if not self.service_keys and not self.allow_anonymous and not is_loopback(self.host):
            raise BadSetting(
                f"HOST={self.host}: without SERVICE_KEYS anybody who reaches it could spend your "
                "tokens; use a loopback address, set SERVICE_KEYS, or set ALLOW_ANONYMOUS=true"
            )
        if key and any(key in secrets for secrets in self.service_secrets.values()):
            raise BadSetting("SERVICE_KEYS=***: no secret may be the real Keepa key")
        if self.default_wait_seconds > self.max_wait_seconds:
            raise BadSetting(
                f"DEFAULT_WAIT_SECONDS={self.default_wait_seconds:g}: may not exceed "
                f"MAX_WAIT_SECONDS={self.max_wait_seconds:g}"
            )
        return self

    @model_validator(mode="after")
    def _check_policies(self) -> Self:
        try:
            _ = self.policies
        except BadPolicies as error:
            shown = _mask("service_policies", self.service_policies)
            raise BadSetting(f"SERVICE_POLICIES={shown}: {error}") from None
        return self

    @cached_property
    def policies(self) -> Policies:
        """What each service may spend."""
        return read_policies(
            self.service_policies, self.min_balance_threshold, self.service_keys.keys()
        )

    @property
    def service_secrets(self) -> dict[str, tuple[str, ...]]:
        """The secrets of each service, readable."""
        return {
            name: tuple(secret.get_secret_value() for secret in secrets)
            for name, secrets in self.service_keys.items()
        }

    @property
    def simulated(self) -> bool:
        """Whether the built-in simulator stands in for Keepa."""
        return self.keepa_base_url == SIMULATOR

    @property
    def hold_seconds(self) -> float:
        """Life of a hold."""
        return self.reservation_ttl_seconds or self.upstream_timeout_seconds + 30

    @property
    def account_name(self) -> str:
        """Name of the ledger in Redis; never the key."""
        if self.account:
            return self.account
        key = self.keepa_api_key.get_secret_value()
        # What the simulator says of its bucket must not come into the ledger of the key's account.
        if self.simulated or not key:
            return SIMULATOR
        return hashlib.sha256(key.encode()).hexdigest()[:16]

    @property
    def secrets(self) -> tuple[str, ...]:
        """Everything that must never be printed."""
        redis_url = self.redis_url.get_secret_value()
        texts = [
            self.keepa_api_key.get_secret_value(),
            self.admin_token.get_secret_value(),
            *(read_redis_url(redis_url).secrets if redis_url else ()),
            *_secrets_of(self.alert_webhook_url.get_secret_value()),
            *chain.from_iterable(self.service_secrets.values()),
        ]
        return tuple(text for text in texts if text)


def read_settings(env_file: Path | None = Path(".env"), *, for_keepa: bool = True) -> Settings:
    """Read environment and `.env` file.

    Args:
        env_file: Empty or missing: the environment alone.
        for_keepa: Whether Keepa is to be called; else its key may be missing.

    Raises:
        BadSetting: One line: the variable, its value (secrets masked) and what is allowed.
    """
    upstream: dict[str, Any] = {} if for_keepa else {"keepa_base_url": SIMULATOR}
    try:
        return Settings(_env_file=env_file, **upstream)
    except ValidationError as error:
        raise BadSetting(_describe(error)) from None
    except UnicodeDecodeError:
        raise BadSetting(f"{env_file}: must be UTF-8 text") from None


class _Port(BaseSettings):
    model_config = SettingsConfigDict(env_ignore_empty=True, hide_input_in_errors=True)

    port: int = Field(0, ge=0, le=65535)


class _Apart(Settings):
    @classmethod
    def settings_customise_sources(cls, *_: Any, **sources: Any) -> tuple[Any, ...]:
        """Neither environment nor `.env` has a say."""
        return (sources["init_settings"],)


def settings_apart(**chosen: Any) -> Settings:
    """Return settings that no real key, store or webhook of the environment comes into.

    Of the environment only PORT counts; without it the port is any free one.

    Raises:
        BadSetting: As `read_settings`.
    """
    try:
        return _Apart(port=_Port().port, **chosen)
    except ValidationError as error:
        raise BadSetting(_describe(error)) from None


def _describe(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    field, message = str(first["loc"][0]), first["msg"]
    shown = f"{field.upper()}={_mask(field, first['input'])}"
    if first["type"] == "setting":
        return f"{shown}: allowed is {message}"
    return f"{shown}: {message[0].lower()}{message[1:]}"


def _mask(field: str, value: object) -> str:
    """The bad value as the operator wrote it, unless it is a secret or may hold one."""
    text = str(value)
    if field in _SECRET or "@" in text:
        return "***"
    return "".join(char if char.isprintable() else "?" for char in text[:80])


def _secrets_of(webhook_url: str) -> tuple[str, ...]:
    """Return what may not be printed of a webhook's URL: all of it, its path, its password."""
    url = urlsplit(webhook_url)
    path = webhook_url[webhook_url.find(url.netloc) + len(url.netloc) :]
    return (
        webhook_url,
        path if len(path) >= _SHORTEST_SECRET else "",
        url.password or "",
    )


def is_loopback(host: str) -> bool:
    """Say whether only this machine reaches that host."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
