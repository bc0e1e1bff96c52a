# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host with a packet filter, and other hosts around it, each in a network namespace: help for the tests beside."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess

import a_namespace
import pytest


def run(*command, text=""):
    return subprocess.run(command, input=text, check=True, capture_output=True, text=True).stdout


class Variant:
    """One variant of iptables, called through wrappers that write down each call."""

    backend = "iptables"
    writer = "iptables-restore"

    def count_ways(self, path):
        """Shell commands that write how many addresses lead to a guest, as a line of the file."""
        return f"{self.real['iptables-save']} -t nat | grep -c 'DNAT --to-destination 10[.]' >>{path}"

    def __init__(self, name, folder):
        self.name = name
        self.folder = folder
        self.log = folder / "calls"
        self.real = {}
        for prefix in ("iptables", "ip6tables"):
            for verb in ("save", "restore"):
                real = shutil.which(f"{prefix}-{name}-{verb}", path="/usr/sbin:/sbin")
                if real is None:
                    pytest.skip(f"no {prefix}-{name}-{verb} here")
                self.real[f"{prefix}-{verb}"] = real
                self.wrap(f"{prefix}-{verb}")

    def wrap(self, program, before=""):
        """Make the program that the driver finds: log, do `before`, then become the real one."""
        path = self.folder / program
        path.write_text(f'#!/bin/sh\necho "{program} $*" >>{self.log}\n{before}\nexec {self.real[program]} "$@"\n')
        path.chmod(0o755)

    def calls(self):
        """The calls since the last time, as the programs' names."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return [line.split()[0] for line in lines if "--version" not in line]

    def save(self, *options, prefix="iptables"):
        text = run(self.real[f"{prefix}-save"], *options)
        tables, lines = [], []
        for line in text.splitlines():
            if line.startswith("*"):
                lines = [line]
                tables.append(lines)
            elif not line.startswith("#"):
                lines.append(line)
        return "\n".join("\n".join(lines) for lines in sorted(tables))

    def load(self, text, prefix="iptables"):
        run(self.real[f"{prefix}-restore"], "--noflush", text=text)

    def ours(self):
        return [
            line
            for prefix in ("iptables", "ip6tables")
            for line in re.findall(r".*nova-(?:network-|filter-top|postrouting-bottom).*", self.save(prefix=prefix))
            if "comment" not in line
        ]


class Nftables(Variant):
    """The other back end, whose program is called through such a wrapper, too."""

    backend = name = "nftables"
    writer = "nft"

    def count_ways(self, path):
        return f"{self.real['nft']} list map ip nova-network float-to 2>&1 | grep -c ': 10[.]' >>{path}"

    def __init__(self, folder):
        self.folder = folder
        self.log = folder / "calls"
        self.real = {"nft": shutil.which("nft", path="/usr/sbin:/sbin")}
        if self.real["nft"] is None:
            pytest.skip("no nft here")
        self.wrap("nft")

    def calls(self):
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return lines

    def save(self, *options, prefix="iptables"):
        return run(self.real["nft"], "-s", "list", "ruleset")

    def load(self, text, prefix="iptables"):
        run(self.real["nft"], "-f", "-", text=text)

    def ours(self):
        return re.findall(r"table \S+ nova-network", self.save())


@contextlib.contextmanager
def namespace():
    """A network namespace of its own, with its loopback up."""
    with a_namespace.beside() as (pid, inside):
        run(*inside, "ip", "link", "set", "lo", "up")
        yield pid, inside


@contextlib.contextmanager
def neighbour(link, ours, theirs):
    """A host in a namespace of its own, at the other end of `link`; yields the way to run a program there."""
    with namespace() as (holder, inside):
        run("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", str(holder))
        run("ip", "link", "set", link, "up")
        if ours:
            run("ip", "addr", "add", ours, "dev", link)
        run(*inside, "ip", "-batch", "-", text=f"addr add {theirs} dev eth0\nlink set eth0 up\n")
        yield inside
