"""A run that is killed at a step of its own: help for the tests beside."""

from __future__ import annotations

import itertools
import os
import signal
import traceback
import typing as t


def killed_at(number: int, work: t.Callable[[t.Callable[..., None]], object]) -> bool:
    """Do it in a child, which kills itself at that call of what it is given; False where it came to its end before."""
    child = os.fork()
    if child == 0:
        calls = itertools.count(1)

        def step(*_words: object) -> None:
            if next(calls) == number:
                os.kill(os.getpid(), signal.SIGKILL)

        status = 1
        try:
            work(step)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    ended = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(ended) or ended == 0
    return os.WIFSIGNALED(ended)
