"""VLAN networks on one host, each a VLAN interface, a bridge and an address: bench_links.py, on a kernel with 802.1Q.

Where this machine's own has none, that of a lab's host, which this starts (as root; tests/lab/README.md). There a
process costs ten times as much and there is one processor, so "as a module" says little; ratios beyond imports hold.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import sys
import tempfile

import harness

ROOT = pathlib.Path(__file__).resolve().parents[2]
COUNTS = ((1, 3), (100, 3), (1000, 1), (4000, 1))

#: A guest kernel's usual memory is for a handful of networks.
MEMORY = "3000M"
#: Seconds; four thousand networks are made five times.
LONG = 3000


def here(counts: tuple[tuple[int, int], ...]) -> None:
    """Measure on this kernel."""
    import bench_links

    bench_links.netlink.load()  # imported here, it costs the measured children nothing
    with tempfile.TemporaryDirectory() as folder:
        harness.run(bench_links.vlan_cases(folder, counts))


def main() -> None:
    sys.path.insert(0, str(ROOT / "tests/lab"))
    os.environ.setdefault("NOVALAB_UML_MEMORY", MEMORY)
    from lab import Lab
    from lab.lab import has_vlan

    if has_vlan():
        here(COUNTS)
        return
    if not shutil.which("linux.uml"):
        print("not measured: neither this kernel nor a guest kernel (linux.uml) has 802.1Q")
        return
    packages = "/usr/local/lib/novalab/python"
    lab = Lab(f"bench-{os.getpid()}")
    try:
        lab.up("vlan", owner=os.getpid())
        for counts in COUNTS:
            code = f"import sys; sys.path[:0] = {[str(ROOT / 'tests/bench'), packages]!r}\n"
            code += f"import bench_vlans; bench_vlans.here(({counts!r},))"
            done = lab.host("h1").run(["/usr/bin/python3", "-c", code], check=False, timeout=LONG)
            print(done.stdout or done.stderr, end="", flush=True)
    finally:
        lab.down()


if __name__ == "__main__":
    main()
