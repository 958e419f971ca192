"""Every setting with its default, its meaning and its limits."""

import hashlib
import re
from collections.abc import Mapping
from functools import cached_property
from itertools import chain
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from gateway.errors import BadSetting
from gateway.settings.masks import MASK, mask, secrets_of_url, show
from gateway.settings.pasted import check_unquoted, trim
from gateway.settings.policies import BadPolicies, Overdraft, Policies, read_policies
from gateway.settings.redis_url import read_redis_url
from gateway.settings.service_keys import read_service_keys
from gateway.settings.values import (
    SIMULATOR,
    AdminToken,
    RedisLocation,
    RequestCount,
    Secret,
    WebhookUrl,
    is_loopback,
    read_base_url,
    read_endpoint_costs,
    read_host,
)


class Settings(BaseSettings):
    """The gateway's settings, one field per environment variable (the name in upper case)."""

    model_config = SettingsConfigDict(
        env_file=".env",
        # Windows editors may write a byte order mark.
        env_file_encoding="utf-8-sig",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    keepa_api_key: Secret = Field(
        SecretStr(""),
        description="the one real Keepa key; required unless the upstream is the simulator",
    )
    keepa_base_url: Annotated[str, AfterValidator(read_base_url)] = Field(
        "https://api.keepa.com",
        description="upstream; `simulator` starts the built-in one in-process",
    )
    redis_url: RedisLocation = Field(
        SecretStr(""),
        description="`redis://`, `rediss://`, `unix://`, `valkey://`, "
        "`redis+sentinel://user:pw@h1:26379,h2:26379/mymaster/0` or "
        "`redis+cluster://user:pw@h1:7000,h2:7001` (both also with `rediss+`); "
        "empty: the embedded store, one process only",
    )
    host: Annotated[str, AfterValidator(read_host)] = Field(
        "127.0.0.1", description="address to listen on"
    )
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
    endpoint_costs: Annotated[Mapping[str, int], NoDecode, BeforeValidator(read_endpoint_costs)] = (
        Field(
            default_factory=dict,
            description='JSON, overrides the base cost of endpoints, as in `{"deal": 5}`; '
            "per item where calls have items; `unknown` is that of all which are not known "
            "here (50)",
        )
    )
    balance_max_age_seconds: float = Field(
        60, ge=1, le=3600, description="an older observation is refreshed from `/token`"
    )
    rate_limit_per_minute: RequestCount = Field(
        "auto",
        description="requests a minute that all callers share; `auto`: as many as the plan brings "
        "tokens, at least 20; 0: no limit",
    )
    rate_limit_burst: RequestCount = Field(
        "auto",
        description="requests that may come at once after quiet time; `auto`: ten minutes' worth; "
        "0: no limit",
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
        "`endpoints`, `code_limit`, `max_offers`, `overdraft`, `blocked`",
    )
    overdraft: Overdraft = Field(
        "never",
        description="`never`, or `when_full`: a call dearer than the bucket may run, alone, "
        "from a full one",
    )
    alert_webhook_url: WebhookUrl = Field(
        SecretStr(""),
        description="http(s) URL that alerts are posted to as JSON, a secret; empty: none are",
    )
    account: str = Field("", description="names the ledger in Redis; empty: a digest of the key")
    allow_anonymous: bool = Field(
        default=False,
        description="without `SERVICE_KEYS`, a `HOST` other than loopback is refused unless true",
    )
    admin_token: AdminToken = Field(
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
    keepalive_seconds: float = Field(
        75,
        ge=1,
        le=3600,
        description="idle connections of callers live so long; set it above what a balancer in "
        "front keeps its own",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="`DEBUG`, `INFO`, `WARNING` or `ERROR`"
    )
    log_format: Literal["json", "console"] = Field(
        "json", description="`json`, or `console` for people"
    )

    @field_validator("service_keys", mode="before")
    @classmethod
    def _parse_service_keys(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        keys = read_service_keys(value)
        return {name: [SecretStr(secret) for secret in secrets] for name, secrets in keys.items()}

    @field_validator("account")
    @classmethod
    def _check_account(cls, value: str) -> str:
        if value and not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", value):
            raise ValueError("1 to 64 of A-Z, a-z, 0-9, dot, _ and -")
        return value

    # Of these validators the last runs first.
    @field_validator("*", mode="before")
    @classmethod
    def _trim(cls, value: Any, info: ValidationInfo) -> Any:
        """Trim white space; a setting of nothing else is not set."""
        if not isinstance(value, str):
            return value
        text = trim(value)
        check_unquoted(text)
        return text or cls._default_of(info.field_name or "")

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        key = self.keepa_api_key.get_secret_value()
        if not key and not self.simulated:
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
            raise BadSetting(f"SERVICE_KEYS={MASK}: no secret may be the real Keepa key")
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
            shown = mask("service_policies", self.service_policies)
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
        # The simulator's balance must not enter the ledger of the key's account.
        if self.simulated or not key:
            return SIMULATOR
        return hashlib.sha256(key.encode()).hexdigest()[:16]

    @property
    def secrets(self) -> tuple[str, ...]:
        """All texts that must never be printed."""
        redis_url = self.redis_url.get_secret_value()
        texts = [
            self.keepa_api_key.get_secret_value(),
            self.admin_token.get_secret_value(),
            *(read_redis_url(redis_url).secrets if redis_url else ()),
            *secrets_of_url(self.alert_webhook_url.get_secret_value()),
            *chain.from_iterable(self.service_secrets.values()),
        ]
        return tuple(text for text in texts if text)

    def in_force(self) -> list[tuple[str, str, bool]]:
        """Return each variable, its value (secrets masked), and whether it is the default."""
        return [
            (name.upper(), show(name, value), value == self._default_of(name))
            for name in type(self).model_fields
            for value in [getattr(self, name)]
        ]

    @classmethod
    def _default_of(cls, name: str) -> Any:
        return cls.model_fields[name].get_default(call_default_factory=True, validated_data={})
