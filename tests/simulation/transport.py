"""One end of a connection in memory, with TCP's manners: order, windows, half-close, resets."""

import asyncio
import contextvars
import socket
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simulation.network import Network

# What is on the way or unread at the other end.
WINDOW = 128 * 1024
DATA, FIN, RST = "data", "fin", "rst"


def _reset() -> ConnectionResetError:
    return ConnectionResetError(104, "Connection reset by peer")


class FakeSocket:
    """What protocols ask their transport's socket for."""

    family, type, proto = socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP

    def __init__(self, end: "End | None", own: Any, other: Any) -> None:
        self._end, self._own, self._other = end, own, other

    def getsockname(self) -> Any:
        return self._own

    def getpeername(self) -> Any:
        return self._other

    def fileno(self) -> int:
        return -1

    def setsockopt(self, level: int, name: int, value: object) -> None:
        if name == socket.SO_LINGER and self._end:
            self._end.resets_on_close = True

    def getsockopt(self, level: int, name: int) -> int:
        is_error = name == socket.SO_ERROR and self._end is not None and self._end.is_reset
        return 104 if is_error else 0


class End(asyncio.Transport):
    """One end: the transport of one protocol.

    Attributes:
        lag: Seconds more for what leaves here.
        cut_after: The connection is cut when so many bytes have arrived here; None: it is not.
        is_swallowed: Whether what leaves here arrives nowhere.
        is_gone: Whether the protocol has lost it.
    """

    max_size = 256 * 1024

    def __init__(
        self,
        network: "Network",
        name: str,
        node: str,
        context: contextvars.Context,
        own: Any,
        other: Any,
    ) -> None:
        super().__init__()
        self.network, self.loop, self.name, self.node = network, network.loop, name, node
        self.context = context
        self.peer: End
        self.protocol: Any = None
        self.resets_on_close = self.is_gone = self.is_swallowed = self.is_reset = False
        self.lag = 0.0
        self.cut_after: int | None = None
        self.received = 0
        self.in_flight = 0
        self.last_arrival = 0.0
        self._names = {"socket": FakeSocket(self, own, other), "sockname": own, "peername": other}
        self._unsent: deque[bytes] = deque()
        self._unsent_size = 0
        self._inbox: deque[tuple[str, bytes]] = deque()
        self._is_paused = self._is_closing = self._wants_eof = self._sent_eof = False
        self._holds_writer = self._will_read = False
        self._low, self._high = 16 * 1024, 64 * 1024

    # --- what protocols ask for ---
    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._names.get(name, default)

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def get_protocol(self) -> Any:
        return self.protocol

    def is_closing(self) -> bool:
        return self._is_closing

    def is_reading(self) -> bool:
        return not self._is_paused and not self._is_closing

    def pause_reading(self) -> None:
        self._is_paused = True

    def resume_reading(self) -> None:
        if self._is_paused:
            self._is_paused = False
            self.read_soon()

    def get_write_buffer_size(self) -> int:
        return self._unsent_size

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low, self._high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = 64 * 1024 if high is None else high
        self._low = self._high // 4 if low is None else low

    def can_write_eof(self) -> bool:
        return True

    def write(self, data: Any) -> None:
        if self._wants_eof:
            raise RuntimeError("Cannot call write() after write_eof()")
        if not data or self._is_closing:
            return
        if self.is_reset:
            self.lose(_reset())
            return
        self._unsent.append(bytes(data))
        self._unsent_size += len(data)
        self._pump()
        if self._unsent_size > self._high and not self._holds_writer:
            self._holds_writer = True
            self.protocol.pause_writing()

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def write_eof(self) -> None:
        if not self._is_closing and not self._wants_eof:
            self._wants_eof = True
            self._pump()

    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            self._pump()

    def abort(self) -> None:
        if not self.is_gone:
            self._unsent.clear()
            self._unsent_size = 0
            self._is_closing = True
            self._pump()

    # --- the way out ---
    def _pump(self) -> None:
        """Send what the window has room for; then what was to come after it."""
        if self.loop.is_closed():  # a writer that is collected closes
            return
        while self._unsent and self.in_flight < WINDOW:
            data = self._unsent.popleft()
            size = self.network.piece_of(min(len(data), WINDOW - self.in_flight))
            if size < len(data):
                self._unsent.appendleft(data[size:])
                data = data[:size]
            self.in_flight += size
            self._unsent_size -= size
            self.network.carry(self, DATA, data)
        if self._holds_writer and self._unsent_size <= self._low and not self._is_closing:
            self._holds_writer = False
            self.protocol.resume_writing()
        if self._unsent or self.is_gone:
            return
        if self._is_closing:
            # As Linux: a close with something unread is a reset.
            unread = any(kind == DATA for kind, _ in self._inbox)
            self.network.carry(self, RST if self.resets_on_close or unread else FIN)
            self.lose(None)
        elif self._wants_eof and not self._sent_eof:
            self._sent_eof = True
            self.network.carry(self, FIN)

    # --- the way in ---
    def arrive(self, kind: str, data: bytes) -> None:
        if self.is_gone:
            if kind == DATA:
                self.network.carry(self, RST)
            return
        if kind == RST:
            self.is_reset = True
            if self._is_closing:  # it waits for nothing but to send the rest
                self.lose(_reset())
                return
        self._inbox.append((kind, data))
        if not self._will_read and self.protocol is not None:
            self._read()

    def read_soon(self) -> None:
        if not self._will_read and self._inbox:
            self._will_read = True
            self.loop.call_soon(self._read, context=self.context)

    def _read(self) -> None:
        """Hand on one piece: asyncio reads once in a turn."""
        self._will_read = False
        if not self._inbox or self._is_paused or self.is_gone or self._is_closing:
            return
        kind, data = self._inbox.popleft()
        if kind == DATA:
            self._hand_on(data)
        elif kind == FIN:
            self.network.note(self, FIN)
            if not self.protocol.eof_received():
                self.close()
        else:
            self.lose(_reset())
        self.read_soon()

    def _hand_on(self, data: bytes) -> None:
        if len(data) > self.max_size:
            self._inbox.appendleft((DATA, data[self.max_size :]))
            data = data[: self.max_size]
        self.peer.in_flight -= len(data)
        if self.peer._unsent:
            self.loop.call_soon(self.peer._pump, context=self.peer.context)
        self.received += len(data)
        is_cut = self.cut_after is not None and self.received >= self.cut_after
        if is_cut:
            data = data[: len(data) - (self.received - (self.cut_after or 0))]
        self.network.note(self, DATA, data)
        if data:
            self.protocol.data_received(data)
        if is_cut:
            self.network.cut(self)

    def lose(self, error: Exception | None) -> None:
        if self.is_gone:
            return
        self.is_gone = self._is_closing = True
        self._unsent.clear()
        self._unsent_size = 0
        self.network.forget(self)
        if self.protocol is not None:
            self.loop.call_soon(self._tell_lost, error, context=self.context)

    def _tell_lost(self, error: Exception | None) -> None:
        self.network.note(self, "lost" if error is None else "broken")
        self.protocol.connection_lost(error)

    def vanish(self) -> None:
        """Its process is gone: the system resets what it had."""
        self.is_gone = True
        self.network.forget(self)
        self.network.carry(self, RST)
