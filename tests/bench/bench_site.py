"""A site run with nothing to do against a bare `ansible ping` of the same hosts."""

from __future__ import annotations

import os
import pathlib
import sys
import tempfile

import harness

sys.path.insert(0, str(harness.ROOT / "tests" / "lab"))

from lab import Lab
from nova_site import Site


def surround(site: Site) -> None:
    """Make this process fit to run the site's commands, without their output."""
    surroundings = site.surroundings()
    os.chdir(surroundings["cwd"])
    os.environ.update(surroundings["env"])
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="bench-site-") as folder, Lab(f"bench-{os.getpid()}") as lab:
        lab.up("multi_host", owner=os.getpid())
        site = Site(lab, "multi_host", pathlib.Path(folder))
        site.run()
        ansible = str(pathlib.Path(sys.executable).with_name("ansible"))
        harness.run(
            [
                harness.Case(
                    "three hosts, nothing to do",
                    floor=[ansible, "-i", str(lab.inventory_file), "all", "-m", "ping"],
                    ours=[harness.Ours("site.yml", site.command())],
                    prepare=lambda: surround(site),
                    by_wall=True,
                    runs=3,
                    own_network=False,
                )
            ]
        )
