"""A Redis server on connections in memory: RESP2, the real Lua in the embedded store's engine."""

import asyncio
import hashlib
from collections.abc import Callable
from typing import Any

import hiredis
from fakeredis.commands_mixins.scripting_mixin import LUA_MODULE

from simulation.data import DENIED_WHEN_FULL, OK, WRITES, CommandError, Data, Status
from simulation.loop import VirtualLoop
from simulation.network import Network

NODE_NAME = "redis"
ADDRESS = (NODE_NAME, 6379)
_RUNS_TO_A_COLLECTION = 2_000
# As Redis: a script that makes or reads a global of its own is wrong.
_SEALED = """
function(call)
  redis = { call = call, pcall = call, error_reply = function(text) return { err = text } end }
  KEYS, ARGV = {}, {}
  setmetatable(_G, {
    __newindex = function(_, name) error('ERR a script made the global ' .. tostring(name)) end,
    __index = function(_, name) error('ERR a script read the global ' .. tostring(name)) end,
  })
  return function(keys, argv) KEYS, ARGV = keys, argv end
end
"""


def encode(value: Any) -> bytes:
    """Write a reply as RESP2."""
    if value is None:
        return b"$-1\r\n"
    if isinstance(value, Status):
        return b"+%b\r\n" % value
    if isinstance(value, bytes):
        return b"$%d\r\n%b\r\n" % (len(value), value)
    if isinstance(value, int):
        return b":%d\r\n" % value
    if isinstance(value, CommandError):
        return b"-%b\r\n" % str(value).encode()
    return b"*%d\r\n" % len(value) + b"".join(map(encode, value))


class Engine:
    """Runs scripts on data, each compiled once."""

    @staticmethod
    def rewrite(text: bytes) -> bytes:
        """Return what is compiled for a text; mutants change it."""
        return text

    def __init__(self, data: Data) -> None:
        self.data = data
        self.refusal = ""
        """What writes are refused with; empty: they are not."""
        self.refuses: frozenset[bytes] = frozenset()
        self._lua = LUA_MODULE.LuaRuntime(encoding=None, unpack_returned_tuples=True)
        self._set_arguments = self._lua.eval(_SEALED)(self._call)
        self._table_from = self._lua.table_from
        self._compiled: dict[bytes, Any] = {}
        self._texts: dict[bytes, bytes] = {}
        self._has_written = False
        self._runs = 0

    def load(self, text: bytes) -> bytes:
        sha = hashlib.sha1(text).hexdigest().encode()
        if sha not in self._compiled:
            self._compiled[sha] = self._lua.compile(self.rewrite(text))
        self._texts[sha] = text
        return sha

    def flush(self) -> None:
        self._texts.clear()

    def run(self, sha: bytes, words: list[bytes]) -> Any:
        if sha not in self._texts:
            return CommandError("NOSCRIPT No matching script. Please use EVAL.")
        key_count = int(words[0])
        self._set_arguments(
            self._table_from(words[1 : key_count + 1]), self._table_from(words[key_count + 1 :])
        )
        self._has_written = False
        try:
            return self._from_lua(self._compiled[sha]())
        except CommandError as error:
            return error
        except LUA_MODULE.LuaError as error:
            return CommandError(f"ERR {error}".replace("\r", " ").replace("\n", " "))
        finally:
            self._runs += 1
            if self._runs % _RUNS_TO_A_COLLECTION == 0:
                self._lua.execute(b"collectgarbage()")

    def _call(self, name: bytes, *words: Any) -> Any:
        if self.refuses and name in self.refuses and not self._has_written:
            raise CommandError(self.refusal)
        arguments = [
            word if type(word) is bytes
            else b"%d" % word if type(word) is int or word == int(word)
            else b"%.17g" % word
            for word in words
        ]  # fmt: skip
        result = self.data.run(name, arguments)
        if name in WRITES:
            self._has_written = True
        return self._to_lua(result)

    def _to_lua(self, value: Any) -> Any:
        if value is None:
            return False
        if type(value) is list:
            return self._table_from([self._to_lua(part) for part in value])
        return self._table_from({b"ok": bytes(value)}) if type(value) is Status else value

    def _from_lua(self, value: Any) -> Any:
        kind = type(value)
        if kind is bytes or kind is int:
            return value
        if kind is float:
            return int(value)
        if value is None or kind is bool:
            return 1 if value else None
        if (text := value[b"err"]) is not None:
            return CommandError(text.decode())
        if (text := value[b"ok"]) is not None:
            return Status(text)
        parts: list[Any] = []
        while (part := value[len(parts) + 1]) is not None:
            parts.append(self._from_lua(part))
        return parts


class RedisServer:
    """One server; what happens to it are its methods.

    Attributes:
        loses_replies: Connections are reset when a script has run, before its reply.
        role: As INFO tells it.
    """

    def __init__(
        self, loop: VirtualLoop, network: Network, clock: Callable[[], float], chance: Any
    ) -> None:
        self._loop, self._network, self._clock, self._chance = loop, network, clock, chance
        self._lives = 0
        self.clock_wrong_by = 0.0
        self.engine = Engine(Data(self.now_us))
        self.is_paused = False
        self.loses_replies = 0.0
        self.busy_seconds = 0.0
        self.role = "master"
        self.is_loading = False
        self.doors: dict[_Door, None] = {}
        self.listener: Any = None
        self.scripts_run = 0
        self.run_id = ""

    def now_us(self) -> int:
        return int((self._clock() + self.clock_wrong_by) * 1_000_000)

    async def start(self, data: Data | None = None) -> None:
        """Begin a life, with these data; None: as they are."""
        self._lives += 1
        self.run_id = f"{self._lives:040x}"
        self.engine.flush()
        if data is not None:
            self.engine.data = data
        self.listener = await self._loop.create_server(lambda: _Door(self), *ADDRESS)

    def empty(self) -> Data:
        return Data(self.now_us)

    @property
    def is_up(self) -> bool:
        return self.listener is not None and self.listener.is_serving()

    def stop(self) -> None:
        """Die: connections are reset."""
        if self.listener:
            self.listener.close()
        self.drop_connections()

    def drop_connections(self) -> None:
        for door in list(self.doors):
            door.transport.get_extra_info("socket").setsockopt(0, 13, b"")  # SO_LINGER
            door.transport.abort()

    def pause(self, *, is_paused: bool) -> None:
        """As a stopped process: nothing is read, all stays connected."""
        self.is_paused = is_paused
        for door in list(self.doors):
            if is_paused:
                door.transport.pause_reading()
            else:
                door.transport.resume_reading()

    def refuse_writes(self, refusal: str, *, when_full: bool = False) -> None:
        """Refuse writes with that error; empty: take them again."""
        self.engine.refusal = refusal
        refused = DENIED_WHEN_FULL if when_full else WRITES
        self.engine.refuses = refused if refusal else frozenset()

    def run(self, words: list[bytes]) -> Any:  # noqa: PLR0911 - a command each
        name = words[0].upper()
        if name == b"INFO":
            text = (
                f"# Server\r\nredis_version:7.4.0\r\nrun_id:{self.run_id}\r\n"
                f"# Replication\r\nrole:{self.role}\r\n"
            )
            return text.encode()
        if self.is_loading:
            return CommandError("LOADING Redis is loading the dataset in memory")
        if name in {b"EVALSHA", b"EVAL"}:
            self.scripts_run += 1
            sha = words[1] if name == b"EVALSHA" else self.engine.load(words[1])
            return self.engine.run(sha, words[2:])
        if name == b"SCRIPT" and words[1].upper() == b"LOAD":
            return self.engine.load(words[2])
        if name in {b"SELECT", b"PING"}:
            return OK
        if name in self.engine.refuses:
            return CommandError(self.engine.refusal)
        try:
            return self.engine.data.run(name, words[1:])
        except CommandError as error:
            return error

    def hears(self, door: "_Door", commands: list[list[bytes]]) -> None:
        """Run what a connection has sent."""
        replies = b"".join([encode(self.run(words)) for words in commands])
        if self.loses_replies and self._chance.random() < self.loses_replies:
            door.transport.abort()
        elif self.busy_seconds or door.writes_at > self._loop.now:
            # Equal timers are not first in, first out.
            at = max(self._loop.now + self.busy_seconds, door.writes_at + 1e-6)
            door.writes_at = at
            self._loop.call_at(at, door.write, replies)
        else:
            door.transport.write(replies)


class _Door(asyncio.Protocol):
    def __init__(self, redis: RedisServer) -> None:
        self._redis = redis
        self._parser = hiredis.Reader()
        self.writes_at = 0.0
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self._redis.doors[self] = None
        if self._redis.is_paused:
            transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        self._parser.feed(data)
        commands = []
        while (words := self._parser.gets()) is not False:
            commands.append(words)
        if commands:
            self._redis.hears(self, commands)

    def write(self, data: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._redis.doors.pop(self, None)
