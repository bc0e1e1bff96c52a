"""Processes that work at once, some of them killed at any moment."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
import typing as t

_PROCESSES = multiprocessing.get_context("fork")


def work(
    target: t.Callable[..., None],
    arguments: t.Callable[[int], tuple[t.Any, ...]],
    workers: int,
    kills: int,
    pause: tuple[float, float],
) -> None:
    """Each calls `target` with its arguments, which are asked for anew when it was killed; all have to end."""

    def begin(worker: int) -> t.Any:
        process = _PROCESSES.Process(target=target, args=arguments(worker))
        process.start()
        return process

    running = [begin(worker) for worker in range(workers)]
    try:
        chance = random.Random(7)
        for _kill in range(kills):
            time.sleep(chance.uniform(*pause))
            worker = chance.randrange(workers)
            if running[worker].is_alive():
                os.kill(running[worker].pid, signal.SIGKILL)
                running[worker].join()
                running[worker] = begin(worker)
        for process in running:
            process.join(200)
        assert [process.exitcode for process in running] == [0] * workers
    finally:
        for process in running:
            process.kill()
