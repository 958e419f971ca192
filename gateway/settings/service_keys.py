"""SERVICE_KEYS: who may call."""

from gateway.settings.pasted import BadText, read_secret, trim
from gateway.settings.policies import DEFAULT, SERVICE_NAME

# Names of calls whose service is not known, which no service may take, and the name of the default
# policy.
_RESERVED_NAMES = {"anonymous", "other", "unknown", DEFAULT}
# Two, while callers change from one secret to the next.
_SECRETS_EACH = 2


class BadServiceKeys(ValueError):
    """Says what is allowed, in one line without secrets."""


def read_service_keys(text: str) -> dict[str, list[str]]:
    """Return the secrets of each name in `name:secret,name:secret`; blanks around both are ignored.

    Raises:
        BadServiceKeys: Something else is given.
    """
    keys: dict[str, list[str]] = {}
    known: set[str] = set()
    for pair in filter(None, (trim(part) for part in text.split(","))):
        name, _, text = pair.partition(":")
        name = trim(name)
        try:
            secret = read_secret(text)
        except BadText as error:
            raise BadServiceKeys(f"of each secret, {error}") from None
        if not secret or not SERVICE_NAME.fullmatch(name):
            raise BadServiceKeys(
                "name:secret,name:secret with names of a-z, 0-9, _ and -, at most 40 long"
            )
        if name in _RESERVED_NAMES:
            raise BadServiceKeys(f"other names than {', '.join(sorted(_RESERVED_NAMES))}")
        if secret in known:
            raise BadServiceKeys("each secret once")
        if len(keys.setdefault(name, [])) == _SECRETS_EACH:
            raise BadServiceKeys("at most two secrets for each name, as name:new,name:old")
        known.add(secret)
        keys[name].append(secret)
    return keys
