"""What guests are given and what attaches them: the checks, and what the results say."""

from __future__ import annotations

import copy
import struct
import typing as t
import xml.etree.ElementTree

import pytest
from ansible_collections.tenantnet.nova.plugins.module_utils._core import guest_config
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import InputError
from ansible_collections.tenantnet.nova.plugins.module_utils._core.guest_config import iso9660
from hypothesis import given
from hypothesis import strategies as st

BLUE: dict[str, t.Any] = {
    "network": "blue",
    "device": "tap1a2b3c4d-5e",
    "bridge": "br100",
    "mac": "fa:16:3e:01:02:03",
    "address": "10.0.0.3/24",
    "gateway": "10.0.0.1",
    "mtu": None,
}
GREEN: dict[str, t.Any] = {
    **BLUE,
    "network": "green",
    "device": "tap2a2b3c4d-5e",
    "bridge": "br101",
    "mac": "fa:16:3e:01:02:04",
    "address": "10.1.0.70/26",
    "gateway": "10.1.0.65",
}
V6 = {"address_v6": "fd00::3/64", "gateway_v6": "fd00::1"}


def routes(*ports: dict[str, t.Any]) -> dict[str, list[str]]:
    ethernets = guest_config.network_config(list(ports))["ethernets"]
    return {name: [route["via"] for route in entry.get("routes", [])] for name, entry in ethernets.items()}


@pytest.mark.parametrize(
    ("first", "second", "carrying"),
    [
        ({}, {}, "eth0"),
        ({"default_route": None}, {"default_route": "no"}, "eth0"),
        ({}, {"default_route": True}, "eth1"),
        ({"default_route": False}, {"default_route": "yes"}, "eth1"),
        ({"default_route": False}, {}, None),
        ({"gateway": None}, {}, None),
    ],
)
def test_one_port_at_most_has_the_default_route(first: dict, second: dict, carrying: str | None) -> None:
    gateways = {"eth0": "10.0.0.1", "eth1": "10.1.0.65"}
    expected = {name: [gateway] if name == carrying else [] for name, gateway in gateways.items()}
    ports = [{**BLUE, **first}, {**GREEN, **second}]
    assert routes(*ports) == expected
    lines = guest_config.interfaces_file(ports).splitlines()
    assert [line.split()[1] for line in lines if "gateway" in line] == [
        gateway for way in expected.values() for gateway in way
    ]


def test_the_default_route_holds_for_both_families() -> None:
    assert routes({**BLUE, **V6}, GREEN) == {"eth0": ["10.0.0.1", "fd00::1"], "eth1": []}
    assert routes({**BLUE, **V6}, {**GREEN, "default_route": True}) == {"eth0": [], "eth1": ["10.1.0.65"]}
    # The network has a gateway of a family that the guest has no address of.
    assert routes({**BLUE, "gateway_v6": "fd00::1"}) == {"eth0": ["10.0.0.1"]}
    # A router's own link-local address is on every link.
    assert routes({**BLUE, **V6, "gateway_v6": "fe80::1"}) == {"eth0": ["10.0.0.1", "fe80::1"]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mac": None}, "ports[1].mac is required"),
        ({"mac": "01:00:5e:00:00:01"}, "ports[1].mac: '01:00:5e:00:00:01' is a group"),
        ({"mac": BLUE["mac"].upper()}, "ports[1].mac: fa:16:3e:01:02:03 is ports[0].mac too"),
        ({"address": "10.1.0.70"}, "ports[1].address: '10.1.0.70' is not an IPv4 address with prefix length"),
        ({"address": 7}, "ports[1].address: 7 is not an IPv4 address"),
        ({"address": "fd00::3/64"}, "ports[1].address: 'fd00::3/64' is not an IPv4"),
        ({"address": "10.1.0.64/26"}, "ports[1].address: '10.1.0.64/26' is not the address of a host"),
        ({"address": "10.1.0.127/26"}, "ports[1].address: '10.1.0.127/26' is not the address of a host"),
        ({"address": None}, "ports[1]: has neither address nor address_v6"),
        ({"gateway": "10.1.0.70"}, "ports[1].gateway: '10.1.0.70' is the port's own address"),
        ({"gateway": "10.0.0.1"}, "ports[1].gateway: '10.0.0.1' is outside the port's network 10.1.0.64/26"),
        ({"gateway": "fe80::1"}, "ports[1].gateway: 'fe80::1' is outside"),
        ({"gateway": "out"}, "ports[1].gateway: 'out' is not an address"),
        ({"address_v6": "fd00::/64"}, "ports[1].address_v6: 'fd00::/64' is not the address of a host"),
        ({"address_v6": "fe80::3%eth0/64"}, "ports[1].address_v6: 'fe80::3%eth0/64' is not an IPv6"),
        ({**V6, "gateway_v6": "fd01::1"}, "ports[1].gateway_v6: 'fd01::1' is outside the port's network fd00::/64"),
        ({**V6, "mtu": 1279}, "ports[1].mtu: 1279 is too small for IPv6"),
        ({"mtu": 67}, "ports[1].mtu: 67 is not from 68"),
        ({"dns": "192.0.2.53"}, "ports[1].dns: '192.0.2.53' is not a list"),
        ({"dns": ["192.0.2.53", "here"]}, "ports[1].dns[1]: 'here' is not an address"),
        ({"default_route": "perhaps"}, "ports[1].default_route: 'perhaps' is neither true nor false"),
        ({"default_route": True, "gateway": None}, "ports[1].default_route: true, but the port has neither gateway"),
    ],
)
def test_what_is_wrong_with_a_port_is_named_by_its_path(changes: dict[str, t.Any], message: str) -> None:
    ports = [copy.deepcopy(BLUE), {**GREEN, **changes}]
    for render in (guest_config.interfaces_file, guest_config.network_config):
        with pytest.raises(InputError) as caught:
            render(ports)
        assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("ports", "message"),
    [
        ("web1", "ports: 'web1' is not a list"),
        (BLUE, "ports: {"),
        (["tap"], "ports[0]: 'tap' is not a mapping"),
        (
            [{**BLUE, "default_route": True}, {**GREEN, "default_route": True}],
            "ports[1].default_route: true, but ports[0].default_route is true as well",
        ),
    ],
)
def test_ports_are_a_list_of_mappings_of_which_one_is_chosen(ports: object, message: str) -> None:
    with pytest.raises(InputError) as caught:
        guest_config.network_config(ports)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    "render", [guest_config.libvirt_interface, guest_config.qemu_arguments, guest_config.lxc_device]
)
@pytest.mark.parametrize(
    ("port", "message"),
    [
        ([BLUE], "port: ["),
        ({**BLUE, "device": None}, "port.device is required"),
        ({**BLUE, "bridge": "a bridge"}, "port.bridge: 'a bridge' is not an interface name"),
        ({**BLUE, "device": "a-name-too-long-by-far"}, "port.device: 'a-name-too-long-by-far' has 22 characters"),
        ({**BLUE, "device": "tap\x01"}, r"port.device: 'tap\x01' is not a name; use printable"),
        ({**BLUE, "mac": "fa:16"}, "port.mac: 'fa:16' is not a MAC address"),
        ({**BLUE, "mtu": "much"}, "port.mtu: 'much' is not a whole number"),
    ],
)
def test_what_is_wrong_with_an_attachment(render: t.Callable, port: object, message: str) -> None:
    with pytest.raises(InputError) as caught:
        render(port)
    assert str(caught.value).startswith(message)


def test_keys_that_nothing_is_rendered_from_are_passed_over() -> None:
    more = {**BLUE, "vlan": 100, "ip_allowed_pairs": ["x"]}
    assert guest_config.network_config([more]) == guest_config.network_config([BLUE])
    # An attachment needs no address.
    assert guest_config.lxc_device({"device": "tap1", "bridge": "br0", "mac": BLUE["mac"]})["parent"] == "br0"


NAMES = st.text("abc01.-_,;'\"<>&=]%", min_size=1, max_size=15).filter(lambda name: name not in (".", ".."))


@given(NAMES, NAMES)
def test_names_come_through_the_syntax_of_libvirt_and_qemu(device: str, bridge: str) -> None:
    port = {**BLUE, "device": device, "bridge": bridge}
    interface = xml.etree.ElementTree.fromstring(guest_config.libvirt_interface(port))
    assert interface.find("target").attrib == {"dev": device}
    assert interface.find("source").attrib == {"bridge": bridge}
    netdev = guest_config.qemu_arguments(port)[1]
    options = [word.replace("\0", ",") for word in netdev.replace(",,", "\0").split(",")]
    assert f"ifname={device}" in options and len(options) == 5


def test_equal_input_makes_equal_images() -> None:
    user_data = {"packages": ["curl"], "hostname": "web1"}
    image = guest_config.nocloud_seed([BLUE], "web1", user_data=user_data)
    turned = {key: user_data[key] for key in reversed(user_data)}
    assert guest_config.nocloud_seed([dict(reversed(BLUE.items()))], "web1", "web1", turned) == image
    assert guest_config.nocloud_seed([BLUE], "web1", "2", user_data) != image


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hostname": "web 1"}, "hostname: 'web 1' is not a host name"),
        ({"instance_id": ""}, "instance_id: '' is not a name"),
        ({"user_data": ["secret"]}, "user_data: is a list; give a text, or a mapping"),
        ({"user_data": {"password": object()}}, "user_data: Object of type object is not JSON"),
        ({"user_data": "\udcff"}, "user_data: holds bytes that are no text"),
    ],
)
def test_what_is_wrong_with_a_seed(options: dict[str, t.Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        guest_config.nocloud_seed(**{"ports": [BLUE], "hostname": "web1", **options})
    assert str(caught.value).startswith(message)
    assert "secret" not in str(caught.value)


@given(st.dictionaries(st.from_regex(r"[a-z]{1,6}-[a-z]{1,6}", fullmatch=True), st.binary(max_size=5000), max_size=4))
def test_an_image_holds_each_file_where_its_record_says(files: dict[str, bytes]) -> None:
    image = iso9660.image("cidata", files)
    assert len(image) % iso9660.SECTOR == 0
    for kind, encoding in ((1, "ascii"), (2, "utf-16-be")):
        descriptor = image[(15 + kind) * 2048 :][:2048]
        assert descriptor[:7] == bytes([kind]) + b"CD001\x01"
        (size,) = struct.unpack_from("<I", descriptor, 80)
        assert size * 2048 == len(image)
        (root,) = struct.unpack_from("<I", descriptor, 156 + 2)
        found = dict(records(image, root))
        names = {name if kind == 2 else name.upper().replace("-", "_") + ".;1": name for name in files}
        assert {key.decode(encoding): content for key, content in found.items()} == {
            listed: files[name] for listed, name in names.items()
        }


def records(image: bytes, root: int) -> t.Iterator[tuple[bytes, bytes]]:
    """Name and content of each file in the folder at that sector."""
    at = root * 2048
    while image[at]:
        sector, size = (struct.unpack_from("<I", image, at + offset)[0] for offset in (2, 10))
        name = image[at + 33 : at + 33 + image[at + 32]]
        if not image[at + 25] & 2:
            yield name, image[sector * 2048 :][:size]
        at += image[at]


def test_a_folder_that_does_not_fit_is_no_image() -> None:
    with pytest.raises(ValueError, match="too many files"):
        iso9660.image("cidata", {f"file-{number}": b"" for number in range(40)})
