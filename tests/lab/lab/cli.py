# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The command line: one verb, one function."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import typing as t

from .errors import LabError
from .guest import Guest
from .host import Host
from .lab import Lab, labs, reap
from .playbook import environment

Verb = t.Callable[[argparse.Namespace], t.Optional[int]]


def main(argv: list[str] | None = None) -> int:
    """Run one verb; every foreseeable error is one line on standard error and status 1."""
    arguments = _parser().parse_args(argv)
    try:
        if os.geteuid():
            raise LabError("the lab makes namespaces and needs root")
        call: Verb = arguments.call
        return call(arguments) or 0
    except (LabError, OSError, subprocess.CalledProcessError) as error:
        print(f"novalab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="novalab", description="Several Linux hosts on one machine, for tests.")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    named = argparse.ArgumentParser(add_help=False)
    default = os.environ.get("NOVALAB_NAME", "lab")
    named.add_argument("-n", "--name", default=default, help="which lab (default: $NOVALAB_NAME, else 'lab')")

    def verb(name: str, call: Verb, text: str, *arguments: str, lab: bool = True) -> argparse.ArgumentParser:
        made = verbs.add_parser(name, help=text, description=text, parents=[named] if lab else [])
        made.set_defaults(call=call)
        for argument in arguments:
            made.add_argument(argument.lower(), metavar=argument)
        return made

    made = verb("up", _up, "build a lab and wait until its hosts are ready", "TOPOLOGY")
    made.add_argument("--owner", type=int, metavar="PID", help="when this process has ended, 'reap' takes the lab down")
    made = verb("down", _down, "end a lab and remove all of it")
    made.add_argument("--all", action="store_true", help="every lab of this machine")
    verb("list", _list, "show the labs and their hosts", lab=False)
    verb("reap", _reap, "take down the labs whose owner has ended or whose building broke off", lab=False)
    verb("inventory", _inventory, "print the inventory for Ansible")
    verb("env", _env, "print the shell commands that let Ansible reach the hosts", lab=False)
    verb("shell", _shell, "open a shell in a host or guest", "HOST[/GUEST]")
    made = verb("exec", _exec, "run a command in a host or guest", "HOST[/GUEST]")
    made.add_argument("command", nargs="+", metavar="COMMAND", help="after --")
    verb("kill", _kill, "power loss: processes, /run and the kernel's state are gone, the disk stays", "HOST")
    verb("boot", _boot, "switch a host on again", "HOST")
    made = verb("cable", _cable, "pull the cable between a host and a switch, or plug it in again", "HOST", "SWITCH")
    made.add_argument("state", choices=("up", "down"))

    guests = verbs.add_parser("guest", help="add and remove guests").add_subparsers(metavar="VERB", required=True)
    made = guests.add_parser("add", parents=[named], description="plug a new guest into a bridge")
    made.set_defaults(call=_guest_add)
    made.add_argument("host", metavar="HOST")
    made.add_argument("guest", metavar="NAME")
    made.add_argument("--bridge", required=True)
    made.add_argument("--mac", required=True)
    made.add_argument("--device", help="the host's end (default: tapNAME)")
    made = guests.add_parser("rm", parents=[named], description="unplug and end a guest")
    made.set_defaults(call=_guest_rm)
    made.add_argument("host", metavar="HOST")
    made.add_argument("guest", metavar="NAME")
    return parser


def _up(a: argparse.Namespace) -> None:
    lab = Lab(a.name).up(a.topology, owner=a.owner)
    print(f"lab '{lab.name}' is up: {', '.join(f'{h.name} ({h.spec.kind})' for h in lab.hosts.values())}")


def _down(a: argparse.Namespace) -> None:
    for lab in labs() if a.all else [Lab(a.name)]:
        lab.down()


def _list(_a: argparse.Namespace) -> None:
    for lab in labs():
        print(f"{lab.name}: {lab.state}")
        if lab.state == "up":
            for host in lab.hosts.values():
                power = "on" if host.is_on else "off"
                print(f"  {host.name:10} {host.spec.kind:8} {host.spec.address:15} {power}")


def _reap(_a: argparse.Namespace) -> None:
    for name in reap():
        print(f"took down '{name}'")


def _inventory(a: argparse.Namespace) -> None:
    print(json.dumps(Lab(a.name).inventory(), indent=2))


def _env(_a: argparse.Namespace) -> None:
    for name, value in environment().items():
        print(f"export {name}={shlex.quote(value)}")


def _shell(a: argparse.Namespace) -> None:
    _place(a).enter(["bash", "--norc"])


def _exec(a: argparse.Namespace) -> int | None:
    place = _place(a)
    if place.has_terminal:
        place.enter(a.command)
    done = place.run(a.command, input="" if sys.stdin.isatty() else sys.stdin.read(), check=False, timeout=3600)
    sys.stdout.write(done.stdout)
    sys.stderr.write(done.stderr)
    return done.returncode


def _place(a: argparse.Namespace) -> Host | Guest:
    name, _, guest = getattr(a, "host[/guest]").partition("/")
    host = Lab(a.name).host(name)
    return host.guest(guest) if guest else host


def _kill(a: argparse.Namespace) -> None:
    Lab(a.name).host(a.host).kill()


def _boot(a: argparse.Namespace) -> None:
    Lab(a.name).host(a.host).boot()


def _cable(a: argparse.Namespace) -> None:
    Lab(a.name).host(a.host).cable(a.switch, plugged=a.state == "up")


def _guest_add(a: argparse.Namespace) -> None:
    Lab(a.name).host(a.host).guest_add(a.guest, a.bridge, a.mac, a.device)


def _guest_rm(a: argparse.Namespace) -> None:
    Lab(a.name).host(a.host).guest(a.guest).remove()
