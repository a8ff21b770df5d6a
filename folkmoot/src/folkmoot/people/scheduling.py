"""The lowest standing with Linux's scheduler that a process may ask for, needing no rights."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

#: sched_setattr(2), which neither Python nor every C library has; the number is the same in every kernel.
_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}
_SCHED_OTHER = 0
#: In nanoseconds, the shortest that Linux grants (EEVDF, Linux 6.12; older ones do not heed it).
_SLICE = 100_000
#: In seconds; Linux's own tick comes each 1 to 10 ms, on Debian each 4.
_TICK = 0.001


def give_way() -> None:
    """Let every other process go first; call it early in a process that computes for a long time.

    The nice value alone does not do it: where Linux groups processes by session (autogroup, sched(7)), it
    counts within the group only; and whoever computes keeps the processor for a slice of some milliseconds,
    whoever wakes meanwhile. So the process gets a session of its own, that session the highest nice value,
    too, and slices of 0.1 ms. What the system refuses is left as it is.
    """
    with suppress(OSError):
        os.setsid()
    os.nice(19)
    if os.getsid(0) == os.getpid():
        _give_way_as_a_session()
    _take_short_slices()


def _give_way_as_a_session() -> None:
    for _ in range(20):
        try:
            Path("/proc/self/autogroup").write_text("19", encoding="ascii")
        except BlockingIOError:
            time.sleep(0.1)  # one change in 0.1 s on the whole machine, for those without rights
        except OSError:
            return
        else:
            return


def _take_short_slices() -> None:
    number = _SCHED_SETATTR.get(platform.machine())
    if platform.system() != "Linux" or number is None or struct.calcsize("P") != 8:
        return
    # struct sched_attr: size, policy, flags, nice, priority, runtime, deadline, period
    attributes = struct.pack("=IIQiIQQQ", 48, _SCHED_OTHER, 0, 19, 0, _SLICE, 0, 0)
    ctypes.CDLL(None).syscall(number, 0, attributes, 0)


@contextmanager
def interrupted() -> Iterator[None]:
    """Compute something, and let Linux look each millisecond whether anybody waits for the processor.

    It looks when a thread wakes there, and else only at its tick: whoever came too early to be let in, or had
    let others go first (sched_yield(2)), waits until then. So a thread wakes, on the same processor if the
    caller's has just one, and does nothing. What is computed has to let go of Python's lock.
    """
    over = threading.Event()

    def wake() -> None:
        while not over.wait(_TICK):
            pass

    thread = threading.Thread(target=wake, name="tick", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
