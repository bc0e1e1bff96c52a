"""Measure what we do against the floor: the cheapest known way to the same end, in the same run.

A case has a floor and one or more of ours. Each runs in a child of its own, in a network namespace of its own that has
been prepared alike; preparing is not measured. CPU is that of the child and of what it started, the kernel's work
included. Absolute values move with the machine's other load; the ratios hold better, of the minima before the medians.

A function of this process is called in a copy of it, which pays for each page of memory that it so much as looks at,
for Python counts references there. Where that matters, a program of its own does the work, within `counted`.

Mind that a namespace with many links dies slowly (about 46 ms a bridge), under a lock that all namespaces share: few
runs of large cases, and `shared` for what changes nothing.

A file `bench_NAME.py` has a `main()` that runs its cases; `run.py` runs all files or those named.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import gc
import os
import pathlib
import resource
import statistics
import struct
import sys
import time
import traceback
import typing as t

ROOT = pathlib.Path(__file__).resolve().parents[2]
CLONE_NEWNET = 0x40000000
_COST = struct.Struct("=dd")
_CPU = struct.Struct("=d")
#: Names the descriptor by which a measured program tells what alone counts.
_TELL = "BENCH_TELL"

#: A command, or a function of this process: what that one has imported already costs nothing then.
Work = t.Union[t.Sequence[str], t.Callable[[], None]]


@dataclasses.dataclass(frozen=True)
class Cost:
    """Seconds."""

    cpu: float
    wall: float


@dataclasses.dataclass(frozen=True)
class Ours:
    """One of our ways to the end."""

    what: str
    work: Work
    #: The ratio that we aim for.
    aim: float | None = None


@dataclasses.dataclass(frozen=True)
class Case:
    what: str
    floor: Work
    ours: t.Sequence[Ours]
    #: Run before each, in the same namespace; not measured.
    prepare: t.Callable[[], None] = lambda: None
    runs: int = 5
    #: Prepare one namespace, once, for all runs: for work that leaves everything as it finds it.
    shared: bool = False
    #: Compare wall time: work that is done by other processes has no CPU of ours.
    by_wall: bool = False
    own_network: bool = True


def development_tree() -> None:
    """Make the collection importable, for this process and those it starts."""
    tree = str(ROOT / ".ansible" / "collections")
    if tree not in sys.path:
        sys.path.insert(0, tree)
        os.environ["PYTHONPATH"] = tree


def measure(
    works: t.Sequence[Work], prepare: t.Callable[[], None] = lambda: None, own_network: bool = True
) -> list[Cost]:
    """The cost of each work, one after the other, in one namespace that has been prepared once."""
    reader, writer = os.pipe()
    stage = os.fork()
    if stage == 0:
        # This process lives in the namespace and prepares it; its children are what is measured.
        _in_child(lambda: _stage(works, prepare, own_network, writer))
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        said = answer.read()
    if os.waitpid(stage, 0)[1] or len(said) != _COST.size * len(works):
        raise SystemExit("the measured work failed; its message stands above")
    return [Cost(*cost) for cost in _COST.iter_unpack(said)]


def _stage(works: t.Sequence[Work], prepare: t.Callable[[], None], own_network: bool, writer: int) -> None:
    if own_network and ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "cannot make a network namespace; this needs root")
    prepare()
    # Else the collector's look at what was imported would copy all of that, in each child, to its cost.
    gc.freeze()
    for work in works:
        heard, told = os.pipe()
        os.set_inheritable(told, True)
        start = time.perf_counter()
        measured = os.fork()
        if measured == 0:
            os.environ[_TELL] = str(told)
            _in_child(lambda work=work: _do(work))
        os.close(told)
        _pid, status, usage = os.wait4(measured, 0)
        wall = time.perf_counter() - start
        if status:
            raise RuntimeError(f"{work} ended with status {status}")
        with os.fdopen(heard, "rb") as answer:
            (cpu,) = _CPU.unpack(answer.read() or _CPU.pack(usage.ru_utime + usage.ru_stime))
        os.write(writer, _COST.pack(cpu, wall))


@contextlib.contextmanager
def counted() -> t.Iterator[None]:
    """What alone counts of a measured program: neither its start nor its end."""
    before = _spent()
    yield
    os.write(int(os.environ[_TELL]), _CPU.pack(_spent() - before))


def _spent() -> float:
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _do(work: Work) -> None:
    if callable(work):
        work()
    else:
        os.execvp(work[0], list(work))


def _in_child(work: t.Callable[[], t.Any]) -> t.NoReturn:
    """Call `work` in a forked child and end it, whatever happens: nothing of the parent's may run twice."""
    status = 1
    try:
        work()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


@dataclasses.dataclass
class Result:
    what: str
    floor: list[float]
    ours: list[float]
    aim: float | None

    @property
    def ratio_of_minima(self) -> float:
        return min(self.ours) / max(min(self.floor), 1e-9)

    @property
    def ratio_of_medians(self) -> float:
        return statistics.median(self.ours) / max(statistics.median(self.floor), 1e-9)

    @property
    def missed(self) -> bool:
        return self.aim is not None and self.ratio_of_minima > self.aim


def compare(case: Case) -> list[Result]:
    """Floor and ours in turn, so that all meet the same weather."""
    works = [case.floor, *(ours.work for ours in case.ours)]
    if case.shared:
        flat = measure(works * case.runs, case.prepare, case.own_network)
    else:
        flat = [measure([work], case.prepare, case.own_network)[0] for work in works * case.runs]
    figures = [cost.wall if case.by_wall else cost.cpu for cost in flat]
    floor, *columns = ([*figures[place :: len(works)]] for place in range(len(works)))
    return [
        Result(f"{case.what}, {ours.what}" if ours.what else case.what, floor, column, ours.aim)
        for ours, column in zip(case.ours, columns)
    ]


_WIDTH = 44


def run(cases: t.Iterable[Case]) -> list[Result]:
    """Measure the cases and print a line for each as it is done."""
    print(f"{'what':<{_WIDTH}}  {'floor':>9}  {'ours':>9}  {'x min':>6}  {'x median':>8}  {'aim':>4}  of", flush=True)
    results = []
    for case in cases:
        for result in compare(case):
            results.append(result)
            aim = "" if result.aim is None else f"{result.aim:g}"
            print(
                f"{result.what:<{_WIDTH}}  {_seconds(min(result.floor)):>9}  {_seconds(min(result.ours)):>9}  "
                f"{result.ratio_of_minima:>6.2f}  {result.ratio_of_medians:>8.2f}  {aim:>4}  "
                f"{'wall' if case.by_wall else 'cpu'}{' (missed)' if result.missed else ''}",
                flush=True,
            )
    return results


def _seconds(value: float) -> str:
    return f"{value * 1000:.1f} ms" if value < 1 else f"{value:.2f} s"
