"""Connections that are ended by themselves: those on which nothing is asked for long, or whose reader does not read.

uvicorn waits for ever for the header of a request, for a body whose refusal was sent already, and for a reader that
leaves its answer lying. A body that is wanted is timed by `guard.Guard`. When too many connections are open the one
goes that has been idle longest, so that those who say nothing never keep the page out.

Source: CWE-400; RFC 9112, section 9.5 (failures and timeouts).
"""

import asyncio
import socket
import struct
import sys
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

TICK_S = 1.0
IDLE_S = 10.0  # for the header of a request; between requests uvicorn's `timeout_keep_alive` is shorter
UNREAD_S = 60.0  # in which a reader takes nothing at all
MOST = 256  # connections
AT_ONCE = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)  # linger for 0 s


class Connection(H11Protocol):
    """A connection of uvicorn that is looked at once a second."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        super().connection_made(transport)  # type: ignore[arg-type]
        self.since = self.loop.time()  # it has been as it is
        self.unread = 0  # bytes that are written and not taken
        self.timer = self.loop.call_later(TICK_S, self.look)
        if len(self.connections) > MOST:
            idle = [c for c in self.connections if isinstance(c, Connection) and c.idle]
            min(idle, key=lambda connection: connection.since).transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self.timer.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """See uvicorn."""
        super().on_response_complete()
        self.since = self.loop.time()

    @property
    def idle(self) -> bool:
        """Whether it neither works on a request nor has anything left to send."""
        cycle: Any = self.cycle
        return self.unread == 0 and (cycle is None or cycle.response_complete)

    def look(self) -> None:
        """Ends the connection where it has stood still for too long."""
        left = self.transport.get_write_buffer_size()
        moved, self.unread = left != self.unread, left
        if moved or not (left or self.idle):
            self.since = self.loop.time()
        if self.loop.time() - self.since <= (UNREAD_S if left else IDLE_S):
            self.timer = self.loop.call_later(TICK_S, self.look)
            return
        if left:  # else the system would keep what it has taken already for a reader that never comes
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
        self.transport.abort()
