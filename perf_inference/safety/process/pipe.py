"""One end of the pipe: packets that arrive whole and in order, or the end of it. Nothing here waits but `wait`.

It is a pair of sockets of the host's own (AF_UNIX, SOCK_SEQPACKET). Its end is seen at once by the other side, however
the process that held it has died, as long as no third process holds it: descriptors are closed in what either side
starts, and `wait` takes the other process' own descriptor besides.
"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Sequence

from perf_inference.errors import InputError
from perf_inference.safety.process.messages import MOST_BYTES, Message, packed, unpacked

_AT_ONCE = 200  # messages of one `take`: nobody is kept from looking by a flood


class Pipe:
    """Sends and takes messages; `take` and `wait` are one thread's, `send` is anybody's."""

    def __init__(self, end: socket.socket) -> None:
        """Take this end over."""
        self._socket = end
        end.setblocking(False)
        self.ended = False  # the other side is gone
        self.lost = 0  # messages that the other side had no room for
        self.malformed = ""  # what came last that is no message

    @classmethod
    def of_descriptor(cls, descriptor: int) -> Pipe:
        """Return the end that was handed down as this descriptor; nothing that is started from here gets it."""
        os.set_inheritable(descriptor, False)
        return cls(socket.socket(fileno=descriptor))

    def send(self, message: Message) -> bool:
        """Send; return False where the other side is gone, or takes nothing."""
        try:
            return self._socket.send(packed(message)) > 0
        except BlockingIOError:
            self.lost += 1
        except OSError:
            pass  # `take` meets the end
        return False

    def take(self) -> list[Message]:
        """Return what has come."""
        found: list[Message] = []
        while len(found) < _AT_ONCE:
            try:
                packet = self._socket.recv(MOST_BYTES)
            except BlockingIOError:
                break
            except OSError:
                packet = b""
            if not packet:
                self.ended = True
                break
            try:
                found.append(unpacked(packet))
            except InputError as error:
                self.malformed = str(error)
        return found

    def wait(self, timeout_s: float, others: Sequence[int] = ()) -> list[int]:
        """Wait until something has come, the other side is gone, or one of the other descriptors says something.

        Returns:
            those of the others that do.
        """
        poll = select.poll()
        own = self._socket.fileno()
        for descriptor in (*((own,) if not self.ended and own >= 0 else ()), *others):
            poll.register(descriptor, select.POLLIN)
        return [found for found, _ in poll.poll(max(timeout_s, 0.0) * 1000) if found != own]

    def close(self) -> None:
        """Close this end."""
        self.ended = True
        self._socket.close()


def pair() -> tuple[Pipe, socket.socket]:
    """Return one end, and the other one as a process takes it over; neither is inherited unless somebody says so."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return Pipe(ours), theirs
