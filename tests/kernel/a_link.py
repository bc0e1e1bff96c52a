"""Links of the network namespace that a test is in, as another tool makes and sees them, and the driver on them."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import subprocess
import time
import typing as t

import pytest
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import HostError
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import links as driver


def ip(words: str) -> str:
    return subprocess.run(["ip", *words.split()], check=True, capture_output=True, text=True).stdout


def shown(name: str) -> dict:
    """A link as another tool sees it."""
    return json.loads(ip(f"-json -details address show dev {name}"))[0]


def exists(name: str) -> bool:
    return os.path.exists(f"/proc/sys/net/ipv4/conf/{name}")


def addresses(name: str, family: str = "inet") -> list[str]:
    return [
        f"{a['local']}/{a['prefixlen']}"
        for a in shown(name)["addr_info"]
        if a["family"] == family and a["scope"] == "global"
    ]


def master(name: str) -> str | None:
    return shown(name).get("master")


def veth(*names: str) -> None:
    """Ethernet interfaces; the other end of each has its name in capitals."""
    for name in names:
        ip(f"link add name {name} type veth peer name {name.upper()}")


def bridge(name: str = "br100", **keys: object) -> dict:
    fields = {"interfaces": [], "addresses": [], "mtu": None, "mac": None, "stp": False, "forward_delay": 0}
    return {"name": name, **fields, **keys}


def plan(*bridges: dict, **sysctl: str) -> dict:
    return {"bridges": list(bridges), "sysctl": sysctl}


#: What the kernel changes by itself, some time after a carrier comes or goes.
VOLATILE = ("timer", "state", "designated", "topology_change", "config_pending", "root_")


def dump() -> str:
    """All that may not change in a run that may not change anything. Counters and times are left out."""
    found = json.loads(ip("-json -details address show"))
    for link in found:
        for part in ("info_data", "info_slave_data"):
            info = link.get("linkinfo", {}).get(part, {})
            link[f"{part} stp_state"] = info.get("stp_state")
            for key in [key for key in info if any(word in key for word in VOLATILE)]:
                del info[key]
        link.pop("operstate", None)
        link["flags"] = [flag for flag in link["flags"] if flag == "UP"]
        # The kernel's own link-local addresses come and go with the carrier.
        link["addr_info"] = [a for a in link.get("addr_info", []) if a["scope"] != "link"]
    return json.dumps(found, indent=1, sort_keys=True)


@contextlib.contextmanager
def monitored():
    """Collect what the kernel announces about links and addresses meanwhile."""
    process = subprocess.Popen(["ip", "monitor", "link", "address"], stdout=subprocess.PIPE, text=True)
    heard: list[str] = []
    try:
        time.sleep(0.3)
        yield heard
        time.sleep(0.3)
    finally:
        process.terminate()
        heard.extend(process.communicate()[0].splitlines())


def until(condition: t.Callable[[], object]) -> None:
    """Wait for what comes true within half a minute."""
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def settle() -> None:
    """Let carrier changes and the kernel's link-local addresses pass."""
    time.sleep(2.5)


def run(section: dict, check: bool = False, connection: str | None = None) -> dict:
    return driver.apply(copy.deepcopy(section), connection, check=check)


def refusal(section: dict, connection: str | None = None) -> str:
    before = dump()
    for check in (True, False):
        with pytest.raises(HostError) as caught:
            run(section, check=check, connection=connection)
        assert dump() == before
    return str(caught.value)


def links_only_all() -> str:
    found = []
    for link in json.loads(dump()):
        item = {key: link.get(key) for key in ("ifname", "mtu", "address", "ifalias", "master", "flags")}
        item["addresses"] = [(a["local"], a["prefixlen"], a.get("broadcast")) for a in link["addr_info"]]
        data = link.get("linkinfo", {}).get("info_data", {})
        item["stp"] = data.get("stp_state"), data.get("forward_delay")
        found.append(item)
    return json.dumps(sorted(found, key=lambda item: item["ifname"]), indent=1)
