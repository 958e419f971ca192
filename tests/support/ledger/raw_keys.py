"""The ledger's keys, changed past its scripts: as a stray hand or an eviction would."""

import hashlib
from typing import Any

from gateway.ledger import EmbeddedStore, Store
from gateway.ledger.scripts import Script

_COMMAND = "return {redis.call(ARGV[3], KEYS[1], unpack(ARGV, 4))}"
COMMAND = Script("command", _COMMAND, hashlib.sha1(_COMMAND.encode()).hexdigest())


async def do(store: Store, command: str, key: str, *arguments: str | int) -> Any:
    """Run one command on one key."""
    if isinstance(store, EmbeddedStore):
        # Redis is sent the text of a script that it does not know.
        await store._client.script_load(COMMAND.text)
    (reply,) = await store.run(COMMAND, (key,), lambda: (command, *arguments))
    return reply
