"""Interfaces that were renamed are found again, by what the kernel itself has of them."""

from __future__ import annotations

import json

import pytest
from a_link import ip
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import HostError
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import links, names, netlink, origin

pytestmark = pytest.mark.usefixtures("netns")


@pytest.fixture(autouse=True)
def kept(tmp_path, monkeypatch):
    monkeypatch.setattr(names, "FILE", str(tmp_path / "interfaces.json"))
    return tmp_path / "interfaces.json"


def cards(*each: str) -> None:
    for number, name in enumerate(each):
        ip(f"link add {name} address 02:00:00:00:00:{number:02x} type veth peer name {name}p")


def plan(interface: str) -> dict:
    return {"bridges": [{"name": "br100", "interfaces": [interface]}], "sysctl": {"net.ipv4.ip_forward": "1"}}


def ports() -> list[str]:
    return [link["ifname"] for link in json.loads(ip("-json link show master br100"))]


def note(section: dict, kept) -> None:
    kept.write_text(names.text_of({"links": section}))


def test_by_an_alternative_name():
    cards("ens5", "ens6")
    ip("link property add dev ens6 altname eth1 altname enp1s0f0np0")
    assert netlink.read().links["ens6"].alternatives == ("eth1", "enp1s0f0np0")
    done = links.apply(plan("eth1"))
    assert ports() == ["ens6"]
    assert any("eth1 is now called ens6" in text for text in done["warnings"])
    assert not links.apply(plan("eth1"))["changed"]


def test_by_the_mac_address_that_was_noted(kept):
    cards("eth0", "eth1")
    links.apply(plan("eth1"))
    note(plan("eth1"), kept)
    assert links.apply(plan("eth1"))["warnings"] == []
    ip("link del br100")  # as a boot leaves it
    ip("link set eth1 down")
    ip("link set eth1 name ens6")
    assert links.apply(plan("eth1"), check=True)["actions"][0:1]
    links.apply(plan("eth1"))
    assert ports() == ["ens6"]
    # The bridge has the card's MAC address now, and is not taken for it.
    assert not links.apply(plan("eth1"))["changed"]
    note(plan("eth1"), kept)
    assert names.known() == {"eth1": "02:00:00:00:00:01"}


def test_two_cards_that_exchange_their_names(kept):
    cards("eth1", "eth2")
    note({"bridges": [{"name": "br100", "interfaces": ["eth1"]}, {"name": "br101", "interfaces": ["eth2"]}]}, kept)
    for was, now in (("eth1", "x"), ("eth2", "eth1"), ("x", "eth2")):
        ip(f"link set {was} down")
        ip(f"link set {was} name {now}")
    links.apply(plan("eth1"))
    assert ports() == ["eth2"]


def test_two_that_it_could_be_are_refused_with_nothing_changed(kept):
    cards("eth1", "ens5", "ens6")
    note(plan("eth1"), kept)
    ip("link del eth1")
    for name in ("ens5", "ens6"):
        ip(f"link set {name} address 02:00:00:00:00:00")
    before = ip("link")
    with pytest.raises(HostError, match="ens5 and of ens6"):
        links.apply(plan("eth1"))
    assert ip("link") == before


def test_what_the_host_had_is_noted_once():
    cards("eth1")
    with open("/proc/sys/net/ipv4/ip_forward", encoding="ascii") as handle:
        first = handle.read().strip()
    links.apply(plan("eth1"))
    changed = {"net.ipv4.ip_forward": first} if first != "1" else {}
    assert origin.read() == (changed, ["eth1"])
    links.apply({**plan("eth1"), "sysctl": {"net.ipv4.ip_forward": "0"}})
    links.apply(plan("eth1"))
    assert origin.read().sysctl.get("net.ipv4.ip_forward", "1") == (first if first != "1" else "1")
