"""Echoes: what workers write to a terminal on which bars stand is read by the driver, which writes it above them.

Elsewhere, and where there are no bars, workers have the driver's own stdout and stderr.
"""

from __future__ import annotations

import fcntl
import os
from codecs import getincrementaldecoder
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from dagflow.aside import ASIDE

if TYPE_CHECKING:
    from dagflow.backends.mailbox import Mailbox

PIPE_BYTES: Final = 1 << 20
"""So much may be written before it is read: who writes more waits."""
PAUSE_SECONDS: Final = 0.05
"""Not more often than that anything is written: each time all bars are drawn anew, a fifth of a millisecond each."""


class Echo:
    """A pipe in the place of a terminal: workers write into ``theirs``, what comes out at ``fd`` goes to ``stream``."""

    def __init__(self, stream: Any, mailbox: Mailbox) -> None:
        self.stream, self.mailbox = stream, mailbox
        self.fd, self.theirs = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self.fd, False)
        with suppress(OSError):  # the system may allow less
            fcntl.fcntl(self.fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self.pause = PAUSE_SECONDS
        self.due = 0.0
        self.heard = False
        self._decoder = getincrementaldecoder(getattr(stream, "encoding", None) or "utf-8")("backslashreplace")
        mailbox.watch(self.fd, self._hear)
        mailbox.deadlines.append(self.deadline)

    def _hear(self, mask: int) -> None:
        """Something has come; it waits for its time, with what else comes until then."""
        del mask
        self.mailbox.unwatch(self.fd)
        self.heard = True

    def deadline(self) -> float | None:
        """Write what has come, if it is time; when it will be."""
        if not self.heard:
            return None
        if monotonic() < self.due:
            return self.due
        self._write()
        self.due = monotonic() + self.pause
        self.heard = False
        self.mailbox.watch(self.fd, self._hear)
        return None

    def hurry(self) -> None:
        """From now on write at once: workers are about to leave, and who must wait for room cannot."""
        self.pause = self.due = 0.0
        self.deadline()

    def close(self) -> None:
        """Write what is still there. Those who could write more are gone."""
        if not self.heard:
            self.mailbox.unwatch(self.fd)
        self.mailbox.deadlines.remove(self.deadline)
        os.close(self.theirs)
        while self._write():
            pass
        os.close(self.fd)

    def _write(self) -> bool:
        """Write what is there; whether there was anything."""
        try:
            data = os.read(self.fd, PIPE_BYTES)
        except BlockingIOError:
            return False
        with suppress(OSError, ValueError):  # the terminal is gone, which is no worker's affair
            self.stream.write(self._decoder.decode(data))
            self.stream.flush()
        return bool(data)


def echoes(mailbox: Mailbox) -> dict[int, Echo]:
    """By descriptor, stdout or stderr, the echoes that workers need now: one for both where they are one terminal."""
    found: dict[int, Echo] = {}
    for fd in (1, 2):
        stream = ASIDE.stream(fd)
        if stream is None:
            continue
        same = next((echo for other, echo in found.items() if os.path.sameopenfile(fd, other)), None)
        try:
            found[fd] = same or Echo(stream, mailbox)
        except OSError:  # no more descriptors: they tear the bars
            break
    return found
