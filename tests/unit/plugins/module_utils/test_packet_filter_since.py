# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What few floating IPs change, found without rendering all: the same as the difference of the whole."""

from __future__ import annotations

import pytest
from ansible_collections.tenantnet.nova.plugins.module_utils._core import iptables, nftables, packet_filter
from hypothesis import event, given, settings
from hypothesis import strategies as st

OWN = "192.0.2.1"
NETWORKS = [
    {"label": "blue", "bridge": "br100", "cidr": "10.0.0.0/24", "cidr_v6": "fd00::/64"},
    {"label": "red", "bridge": "br101", "cidr": "10.0.1.0/24"},
]
SECTION = {
    "public_interface": "eth2",
    "networks": [{**network, "gateway": True, "dhcp": True, "snat": True} for network in NETWORKS],
    "port_forwards": [
        {"address": address, "protocol": "tcp", "ports": "80:81", "fixed_address": "10.0.0.5", "fixed_port": 8080}
        for address in ("203.0.113.3", "203.0.113.40")
    ],
    "metadata": {"host": None, "port": 8775},
}


def _floating_ip(random, form):
    """Of few prefixes, so that trees of chains have several levels, and chains are divided and are one again."""
    if random.random() < 0.1:
        address, fixed = f"2001:db8:5::{random.randrange(1, 99):x}", f"fd00::{random.randrange(2, 99):x}"
    else:
        prefix = random.choice(("203.0.113", "203.0.113", "203.0.112", "198.18.0"))
        address, fixed = f"{prefix}.{random.randrange(1, 99)}", f"10.0.{random.randrange(2)}.{random.randrange(2, 99)}"
    entry = {"address": address, "fixed_address": fixed}
    if form != "short":
        entry["interface"] = random.choice((None, None, "eth2", "eth3"))
    if form == "long":
        network = NETWORKS[fixed.startswith("10.0.1.")]
        entry |= {"bridge": network["bridge"], "fixed_cidr": network["cidr_v6" if ":" in fixed else "cidr"]}
    return entry


def _edited(entries, random, form):
    """The list after a few changes."""
    entries = list(entries)
    for _edit in range(random.choice((0, 1, 1, 1, 2, 4))):
        deed = random.choice((*("add", "drop", "lead") * 4, "swap"))
        place, other = (random.randrange(len(entries)) if entries else 0 for _either in range(2))
        if deed == "add":
            entry = _floating_ip(random, form)
            if entry["address"] not in [one["address"] for one in entries]:
                entries.insert(place, entry)
        elif deed == "drop" and entries:
            del entries[place]
        elif deed == "swap" and entries:
            entries[place], entries[other] = entries[other], entries[place]
        elif entries and (":" in entries[place]["address"]) == (":" in entries[other]["address"]):
            entries[place] = {**entries[other], "address": entries[place]["address"]}
    return entries


def _section(entries):
    return {**SECTION, "floating_ips": entries}


def _whole(section):
    return packet_filter.intent(packet_filter.parse(section), OWN)


def _step(before, after):
    few = packet_filter.few(packet_filter.keep(before), packet_filter.keep(after), after)
    return None if few is None else packet_filter.step(few, lambda: OWN)


FAMILIES = {"ipv4": 4, "ipv6": 6}


@settings(deadline=None)
@given(st.randoms(use_true_random=False), st.sampled_from(["short", "middle", "long"]))
def test_the_difference_of_a_few_is_that_of_the_whole(random, form):
    drawn = [_floating_ip(random, form) for _entry in range(random.randrange(140))]
    before = list({entry["address"]: entry for entry in drawn}.values())
    after = _edited(before, random, form)
    one, two = _section(before), _section(after)
    if packet_filter.keep(one) is None or packet_filter.keep(two) is None:
        assert not before or not after
        return
    step = _step(one, two)
    event(f"a step: {step is not None}")
    whole = [_whole(section) for section in (one, two)]
    if step is None:
        return
    for family, version in FAMILIES.items():
        concerned = any((":" in entry["address"]) == (version == 6) for entry in (*step.few.gone, *step.few.come))
        tables = [nftables.render(meaning, family) for meaning in whole]
        change = nftables.between(family, *tables)
        assert change is not None
        if not concerned:
            assert not change
            continue
        found = nftables.between(family, nftables.render(step.before, family), nftables.render(step.after, family))
        assert (found.gone, found.come) == (change.gone, change.come)
        have, want = ({**iptables.render(meaning, family)} for meaning in whole)
        changes = iptables.compare({name: _held(table) for name, table in have.items()}, want)
        assert iptables.step(step, version) == changes


def _held(wanted):
    """As it is read once it is there."""
    hooks = {hook: [f"-j {chain}" for chain in chains] for hook, chains in wanted.hooks.items()}
    return iptables.Table({**wanted.chains, **hooks}, set(hooks))


def _many(*entries):
    """Floating IPs, these the last of them."""
    others = [{"address": f"203.0.112.{last}", "fixed_address": f"10.0.0.{last}"} for last in range(10, 20)]
    return _section([*others, *entries])


SEVEN = {"address": "203.0.113.7", "fixed_address": "10.0.0.7"}


def test_one_more_is_told_apart():
    step = _step(_many(), _many(SEVEN))
    assert (step.few.gone, step.few.come) == ([], [SEVEN])
    (change,) = iptables.step(step, 4)
    assert set(change.after) == {"nova-network-float-to", "nova-network-float-from"}
    assert iptables.step(step, 6) == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(_many(SEVEN), {**_many(), "networks": SECTION["networks"][:1]}, id="another network"),
        pytest.param(_many(SEVEN), {**_many(), "port_forwards": []}, id="another port"),
        pytest.param(_many(SEVEN), _many({**SEVEN, "fixed_address": "10.0.1.7"}), id="first of its network"),
        pytest.param(_many({**SEVEN, "fixed_address": "10.0.1.7"}), _many(), id="last of its network"),
        pytest.param(_many(), _many({**SEVEN, "interface": "eth3"}), id="another form"),
        pytest.param(_many(), _many(SEVEN, SEVEN), id="twice"),
        pytest.param(_many(), _many({**SEVEN, "address": "203.0.112.12"}), id="leads to somebody already"),
        pytest.param(_many(), _many({**SEVEN, "fixed_address": "2001:db8::1"}), id="of both versions"),
        pytest.param(_many(), _many({**SEVEN, "fixed_address": "203.0.113.300"}), id="no address"),
        pytest.param(_many(), _many({**SEVEN, "address": OWN}), id="the host's own"),
        pytest.param(_many(), _many({**SEVEN, "address": " 203.0.113.7"}), id="spelled otherwise"),
        pytest.param(_many(), _many({**SEVEN, "address": ["203.0.113.7"]}), id="a list"),
        pytest.param(
            _many(SEVEN, {"address": "203.0.113.8", "fixed_address": "10.0.0.8"}),
            _many(
                {"address": "203.0.113.7 10.0.0.7\n203.0.113.8", "fixed_address": "10.0.0.8"},
                {"address": "203.0.113.9", "fixed_address": "10.0.0.9"},
            ),
            id="two in the words of one",
        ),
        pytest.param(_many(SEVEN), _section(_many(SEVEN)["floating_ips"][::-1]), id="in another order"),
        pytest.param(_many(), _many(), id="nothing"),
        pytest.param(
            _many(),
            _many(*({**SEVEN, "address": f"198.18.{n >> 8}.{n & 255}"} for n in range(1, 300))),
            id="more than a few",
        ),
    ],
)
def test_what_is_more_than_a_few_is_left_to_a_look_at_the_whole(before, after):
    told = packet_filter.keep(after)
    few = told and packet_filter.few(packet_filter.keep(before), told, after)
    assert few is None or packet_filter.step(few, lambda: OWN) is None
