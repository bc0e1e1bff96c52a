"""The filters on a guest's ports, judged by the programs that read what they render, where these are here."""

from __future__ import annotations

import base64
import os
import pathlib
import shutil
import subprocess
import sys
import typing as t
import xml.etree.ElementTree

import pytest
import yaml
from ansible.errors import AnsibleError
from ansible_collections.tenantnet.nova.plugins.filter import guests
from hypothesis import given
from hypothesis import strategies as st

ROOT = pathlib.Path(__file__).resolve().parents[4]
FOLDER = pathlib.Path(guests.__file__).parent
FILTERS = guests.FilterModule().filters()
BLUE: dict[str, t.Any] = {
    "network": "blue",
    "device": "tap1a2b3c4d-5e",
    "bridge": "br100",
    "mac": "fa:16:3e:01:02:03",
    "address": "10.0.0.3/24",
    "gateway": "10.0.0.1",
    "mtu": 1450,
    "address_v6": "fd00::3/64",
    "gateway_v6": "fd00::1",
    "dns": ["192.0.2.53", "2001:db8::53"],
    "vlan": 100,
}
GREEN: dict[str, t.Any] = {
    "network": "green",
    "device": "tap2a2b3c4d-5e",
    "bridge": "br101",
    "mac": "FA-16-3E-01-02-04",
    "address": "10.1.0.70/26",
    "gateway": "10.1.0.65",
    "mtu": None,
}
INJECTED = """\
auto lo
iface lo inet loopback

auto eth0
iface eth0 inet static
    hwaddress ether fa:16:3e:01:02:03
    address 10.0.0.3
    netmask 255.255.255.0
    broadcast 10.0.0.255
    gateway 10.0.0.1
    dns-nameservers 192.0.2.53
    mtu 1450

iface eth0 inet6 static
    address fd00::3
    netmask 64
    gateway fd00::1
    dns-nameservers 2001:db8::53

auto eth1
iface eth1 inet static
    hwaddress ether fa:16:3e:01:02:04
    address 10.1.0.70
    netmask 255.255.255.192
    broadcast 10.1.0.127
"""


def call(name: str, *arguments: t.Any, **options: t.Any) -> t.Any:
    return FILTERS[name](*arguments, **options)


@pytest.fixture
def program(request: pytest.FixtureRequest) -> str:
    found = shutil.which(request.param, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if not found:
        pytest.skip(f"{request.param} is not installed")
    return found


def output(*argv: t.Any) -> str:
    return subprocess.run([str(word) for word in argv], check=True, capture_output=True, text=True, timeout=60).stdout


@pytest.mark.parametrize("name", list(FILTERS))
def test_the_sample_in_the_documentation_is_what_comes_of_such_a_port(name: str) -> None:
    documentation = yaml.safe_load((FOLDER / f"{name}.yml").read_text())
    port = {key: value for key, value in BLUE.items() if not key.endswith("_v6")} | {"dns": ["192.0.2.53"]}
    if name == "nocloud_seed":
        return  # the image itself is looked into below
    if name == "interfaces_file":
        lines = documentation["EXAMPLES"].partition("# auto lo\n")
        sample = "".join(line.removeprefix("#").removeprefix(" ") for line in "".join(lines[1:]).splitlines(True))
    else:
        sample = documentation["RETURN"]["_value"]["sample"]
    assert call(name, [port] if name in ("interfaces_file", "network_config") else port) == sample


@pytest.mark.parametrize(
    ("name", "value", "options", "message"),
    [
        ("interfaces_file", [{**BLUE, "address": "x"}], {}, r"ports\[0\].address: 'x'"),
        ("interfaces_file", [BLUE], {"virt_type": "xen"}, "virt_type: 'xen' is none of kvm, qemu, lxc"),
        ("network_config", None, {}, "ports: None is not a list"),
        ("nocloud_seed", [BLUE], {"hostname": ""}, "hostname: ''"),
        ("libvirt_interface", {**BLUE, "bridge": ""}, {}, "port.bridge: ''"),
        ("qemu_arguments", [BLUE], {}, "port: "),
        ("lxc_device", {}, {}, "port.device is required"),
    ],
)
def test_what_is_wrong_with_the_input_is_the_templates_error(
    name: str, value: t.Any, options: dict[str, t.Any], message: str
) -> None:
    with pytest.raises(AnsibleError, match=f"{name}: {message}"):
        call(name, value, **options)


# --- the network inside the guest


def test_the_interfaces_file_is_as_nova_injected_it() -> None:
    assert call("interfaces_file", [BLUE, GREEN]) == INJECTED


def test_a_container_gets_its_ipv6_addresses_by_commands() -> None:
    only_v6 = {key: value for key, value in BLUE.items() if key not in ("address", "gateway")}
    assert call("interfaces_file", [BLUE], "lxc") == (
        INJECTED.partition("\niface eth0 inet6")[0].replace("192.0.2.53", "192.0.2.53 2001:db8::53")
        + "    post-up ip -6 addr add fd00::3/64 dev ${IFACE}\n"
        + "    post-up ip -6 route add default via fd00::1 dev ${IFACE}\n"
    )
    assert call("interfaces_file", [only_v6], "lxc").partition("\n\n")[2] == (
        "auto eth0\n"
        "iface eth0 inet manual\n"
        "    hwaddress ether fa:16:3e:01:02:03\n"
        "    dns-nameservers 192.0.2.53 2001:db8::53\n"
        "    mtu 1450\n"
        "    post-up ip -6 addr add fd00::3/64 dev ${IFACE}\n"
        "    post-up ip -6 route add default via fd00::1 dev ${IFACE}\n"
    )
    assert call("interfaces_file", [only_v6]).partition("\n\n")[2] == (
        "auto eth0\n"
        "iface eth0 inet6 static\n"
        "    hwaddress ether fa:16:3e:01:02:03\n"
        "    address fd00::3\n"
        "    netmask 64\n"
        "    gateway fd00::1\n"
        "    dns-nameservers 192.0.2.53 2001:db8::53\n"
        "    mtu 1450\n"
    )


@pytest.mark.parametrize("program", ["ifup"], indirect=True)
@pytest.mark.parametrize("virt_type", ["kvm", "lxc"])
def test_ifupdown_would_configure_the_planned_addresses(program: str, tmp_path: pathlib.Path, virt_type: str) -> None:
    file = tmp_path / "interfaces"
    file.write_text(call("interfaces_file", [BLUE, GREEN], virt_type))
    argv = [program, "-a", "--no-act", "--no-scripts", "--force", f"--state-dir={tmp_path}", "-i", str(file)]
    told = subprocess.run(argv, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
    done = [" ".join(line.replace("${IFACE}", "eth0").split()) for line in told.stdout.splitlines()]
    for begin, *parts in (
        ("ip addr add 10.0.0.3/", "255.255.255.0", "broadcast 10.0.0.255", "dev eth0"),
        ("ip link set dev eth0", "mtu 1450", "address fa:16:3e:01:02:03"),
        ("ip route add default via 10.0.0.1",),
        ("ip -6 addr add fd00::3/64", "dev eth0"),
        ("ip -6 route", "default via fd00::1"),
        ("ip addr add 10.1.0.70/", "255.255.255.192", "dev eth1"),
        ("ip link set dev eth1", "address fa:16:3e:01:02:04"),
    ):
        assert any(line.startswith(begin) and all(part in line for part in parts) for line in done), (begin, done)


def test_the_network_config_is_for_cloud_init_and_netplan() -> None:
    assert call("network_config", [BLUE, GREEN]) == {
        "version": 2,
        "ethernets": {
            "eth0": {
                "match": {"macaddress": "fa:16:3e:01:02:03"},
                "set-name": "eth0",
                "dhcp4": False,
                "dhcp6": False,
                "addresses": ["10.0.0.3/24", "fd00::3/64"],
                "routes": [{"to": "0.0.0.0/0", "via": "10.0.0.1"}, {"to": "::/0", "via": "fd00::1"}],
                "nameservers": {"addresses": ["192.0.2.53", "2001:db8::53"]},
                "mtu": 1450,
            },
            "eth1": {
                "match": {"macaddress": "fa:16:3e:01:02:04"},
                "set-name": "eth1",
                "dhcp4": False,
                "dhcp6": False,
                "addresses": ["10.1.0.70/26"],
            },
        },
    }


@pytest.mark.parametrize("program", ["netplan"], indirect=True)
def test_netplan_takes_the_network_config(program: str, tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "etc/netplan"
    folder.mkdir(parents=True)
    file = folder / "50-nova.yaml"
    file.write_text(yaml.safe_dump({"network": call("network_config", [BLUE, GREEN])}))
    file.chmod(0o600)
    output(program, "generate", "--root-dir", tmp_path)
    units = "".join(path.read_text() for path in tmp_path.glob("run/systemd/network/*"))
    for line in ("Address=10.0.0.3/24", "Address=fd00::3/64", "Gateway=10.0.0.1", "Gateway=fd00::1", "DNS=192.0.2.53"):
        assert line in units.splitlines(), units


# --- the seed

USER_DATA: dict[str, t.Any] = {"users": ["default", {"name": "grün 😀\x85"}], "packages": ["curl"] * 300}


@pytest.fixture
def seed(tmp_path: pathlib.Path) -> pathlib.Path:
    file = tmp_path / "seed.iso"
    file.write_bytes(base64.b64decode(call("nocloud_seed", [BLUE, GREEN], "web1", "i-0001", USER_DATA), validate=True))
    return file


def assert_seed(files: dict[str, str]) -> None:
    assert set(files) == {"meta-data", "network-config", "user-data"}
    assert yaml.safe_load(files["meta-data"]) == {"instance-id": "i-0001", "local-hostname": "web1"}
    assert yaml.safe_load(files["network-config"]) == call("network_config", [BLUE, GREEN])
    assert files["user-data"].startswith("#cloud-config\n")
    assert yaml.safe_load(files["user-data"]) == USER_DATA


MOUNT = """\
#!/bin/sh
mount -t proc proc /proc
modules=/usr/lib/uml/modules/$(uname -r)/kernel
insmod $modules/drivers/cdrom/cdrom.ko
insmod $modules/fs/isofs/isofs.ko
for option in nojoliet,ro norock,ro; do
    mount -t iso9660 -o $option /dev/ubda /mnt
    for file in meta-data network-config user-data; do cp /mnt/$file FOLDER/$option.$file; done
    ls /mnt > FOLDER/$option.list
    umount /mnt
done
exec busybox poweroff -f
"""


@pytest.mark.parametrize("program", ["linux.uml"], indirect=True)
def test_a_kernel_mounts_the_seed_by_rock_ridge_and_by_joliet(program: str, seed: pathlib.Path) -> None:
    """In a kernel of its own, since the machine's may lack ISO 9660, and mounting wants root."""
    folder = seed.parent
    init = folder / "init"
    init.write_text(MOUNT.replace("FOLDER", str(folder)))
    init.chmod(0o755)
    kernel = [program, "mem=64M", "rootfstype=hostfs", "rootflags=/", "rw", f"init={init}", "quiet", "panic=1"]
    console = ["con=null", "con0=null,fd:1", "ssl=null", f"uml_dir={folder}"]
    done = subprocess.run(
        [*kernel, *console, f"ubd0r={seed}"], capture_output=True, text=True, timeout=120, check=False
    )
    for way in ("nojoliet,ro", "norock,ro"):
        listed = folder / f"{way}.list"
        assert listed.exists(), done.stdout
        assert_seed({name: (folder / f"{way}.{name}").read_text() for name in listed.read_text().split()})


@pytest.mark.parametrize("program", ["blkid"], indirect=True)
def test_the_seed_is_found_by_its_label(program: str, seed: pathlib.Path) -> None:
    found = output(program, "--probe", "--output", "export", seed).splitlines()
    assert {"LABEL=cidata", "TYPE=iso9660"} <= set(found)


@pytest.mark.parametrize(
    ("program", "arguments"),
    [
        ("bsdtar", ["-xOf", "SEED", "NAME"]),
        ("isoinfo", ["-R", "-i", "SEED", "-x", "/NAME"]),
        ("isoinfo", ["-J", "-i", "SEED", "-x", "/NAME"]),
    ],
    indirect=["program"],
)
def test_other_readers_find_the_files(program: str, arguments: list[str], seed: pathlib.Path) -> None:
    def read(name: str) -> str:
        return output(program, *(word.replace("SEED", str(seed)).replace("NAME", name) for word in arguments))

    assert_seed({name: read(name) for name in ("meta-data", "network-config", "user-data")})


def seed_file(image: str, beginning: str) -> str:
    """The file of the seed that begins so, as every file does where a sector begins."""
    raw = base64.b64decode(image)
    sectors = [raw[at:] for at in range(0, len(raw), 2048)]
    [found] = [rest for rest in sectors if rest.startswith(beginning.encode())]
    return found.partition(b"\0")[0].decode()


def test_a_script_is_user_data_as_it_is() -> None:
    script = "#!/bin/sh\necho grün\n"
    assert seed_file(call("nocloud_seed", [BLUE], "web1", user_data=script), "#!") == script


def test_a_guest_without_user_data_has_an_empty_cloud_config() -> None:
    content = seed_file(call("nocloud_seed", [BLUE], "web1"), "#cloud")
    assert content.startswith("#cloud-config\n") and yaml.safe_load(content) == {}


def test_a_guest_is_known_by_its_name_as_dhcp_has_it() -> None:
    content = seed_file(call("nocloud_seed", [BLUE], "a" * 70 + "b" * 60), '{\n  "instance-id"')
    assert yaml.safe_load(content) == dict.fromkeys(("instance-id", "local-hostname"), "aa-" + "b" * 60)


# YAML knows no lone surrogates, and a NUL would end what is cut out here.
@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), st.text(), max_size=3))
def test_any_text_in_a_cloud_config_comes_through_yaml(config: dict[str, str]) -> None:
    try:
        image = call("nocloud_seed", [BLUE], "web1", user_data=config)
    except AnsibleError as error:
        assert "holds bytes that are no text" in str(error)
        return
    assert yaml.safe_load(seed_file(image, "#cloud")) == config


PLAY = """\
- hosts: guests
  gather_facts: false
  connection: local
  tasks:
    - ansible.builtin.copy:
        content: "{{ nova_ports | tenantnet.nova.nocloud_seed(inventory_hostname, 'i-0001', user_data) | b64decode }}"
        dest: "{{ folder }}/seed.iso"
        mode: "0600"
      diff: false
    - ansible.builtin.copy:
        content: "{{ nova_ports | tenantnet.nova.interfaces_file }}"
        dest: "{{ folder }}/interfaces"
        mode: "0644"
    - ansible.builtin.copy:
        content: "{{ nova_ports | tenantnet.nova.network_config | to_nice_yaml }}"
        dest: "{{ folder }}/network-config"
        mode: "0644"
    - ansible.builtin.copy:
        content: "{{ nova_ports | map('tenantnet.nova.libvirt_interface') | join }}"
        dest: "{{ folder }}/interfaces.xml"
        mode: "0644"
    - ansible.builtin.copy:
        content: "{{ nova_ports | map('tenantnet.nova.qemu_arguments') | flatten | to_json }}"
        dest: "{{ folder }}/arguments"
        mode: "0644"
    - ansible.builtin.copy:
        content: "{{ {'devices': dict(names | zip(nova_ports | map('tenantnet.nova.lxc_device')))} | to_nice_yaml }}"
        dest: "{{ folder }}/devices"
        mode: "0644"
      vars:
        names: "{{ range(nova_ports | length) | map('regex_replace', '^', 'eth') }}"
"""


def test_a_playbook_writes_it_all_once(seed: pathlib.Path, tmp_path: pathlib.Path) -> None:
    variables = {
        "ansible_python_interpreter": sys.executable,
        "nova_ports": [BLUE, GREEN],
        # Values that come of templates and vaults are of types of Ansible's own.
        "user_data": {**USER_DATA, "users": ["{{ 'default' }}", USER_DATA["users"][1]]},
        "folder": str(tmp_path / "out"),
    }
    (tmp_path / "out").mkdir()
    (tmp_path / "inventory.yml").write_text(yaml.safe_dump({"guests": {"hosts": {"web1": variables}}}))
    (tmp_path / "play.yml").write_text(PLAY)
    argv = ["ansible-playbook", "-i", tmp_path / "inventory.yml", tmp_path / "play.yml"]
    bin_folder = pathlib.Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{bin_folder}:{os.environ['PATH']}"}
    for changed in (6, 0):
        done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200, check=False)
        assert f"ok=6    changed={changed} " in done.stdout, done.stdout + done.stderr
    written = tmp_path / "out"
    assert (written / "seed.iso").read_bytes() == seed.read_bytes()
    assert (written / "interfaces").read_text() == INJECTED
    assert yaml.safe_load((written / "network-config").read_text()) == call("network_config", [BLUE, GREEN])
    domain = xml.etree.ElementTree.fromstring(f"<devices>{(written / 'interfaces.xml').read_text()}</devices>")
    assert [target.get("dev") for target in domain.iter("target")] == [BLUE["device"], GREEN["device"]]
    assert [mac.get("address") for mac in domain.iter("mac")] == ["fa:16:3e:01:02:03", "fa:16:3e:01:02:04"]
    assert yaml.safe_load((written / "arguments").read_text()) == call("qemu_arguments", BLUE) + call(
        "qemu_arguments", GREEN
    )
    devices = yaml.safe_load((written / "devices").read_text())["devices"]
    assert devices == {"eth0": call("lxc_device", BLUE), "eth1": call("lxc_device", GREEN)}


# --- attachment


@pytest.mark.parametrize("program", ["virt-xml-validate"], indirect=True)
def test_libvirt_knows_the_interface(program: str, tmp_path: pathlib.Path) -> None:
    file = tmp_path / "domain.xml"
    file.write_text(
        "<domain type='kvm'><name>web1</name><memory>1</memory><os><type>hvm</type></os>"
        f"<devices>{call('libvirt_interface', BLUE)}</devices></domain>"
    )
    output(program, file, "domain")
