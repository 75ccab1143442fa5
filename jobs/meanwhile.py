"""A call that a copy of this process makes while this one goes on."""

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import TypeVar

T = TypeVar("T")


def possible() -> bool:
    """Whether a copy can be made, and has a processor to run on."""
    if "fork" not in multiprocessing.get_all_start_methods():
        return False
    # A worker of a pool may start none.
    if multiprocessing.current_process().daemon:
        return False
    return (len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1) > 1


@contextmanager
def meanwhile(call: Callable[[], T]) -> Iterator[Callable[[], T]]:
    """Begin a call in a forked process: all that there is here, is there as it is now.

    Gives a function that waits for what it returned. Where the process failed, or was killed, this one makes
    the call itself: so it raises here what it raises there.

    Examples
    --------
    >>> with meanwhile(lambda: sum(range(5))) as result:
    ...     result()
    10
    """
    forking = multiprocessing.get_context("fork")
    receiver, sender = forking.Pipe(duplex=False)
    process = forking.Process(target=_send, args=(sender, call), daemon=True)
    process.start()
    sender.close()

    def result() -> T:
        try:
            found: T = receiver.recv()
        except EOFError:
            return call()
        return found

    try:
        yield result
    finally:
        process.kill()
        process.join()
        receiver.close()


def _send(sender: "Connection", call: Callable[[], object]) -> None:
    # What a progress bar has put in their place waits for a thread that is not here.
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
    try:
        found = call()
    except BaseException:  # it is told by who makes the call again
        return
    sender.send(found)
