"""Backup, export and import, the check of the invariants and the history, on both engines."""

from __future__ import annotations

import datetime
import pathlib
import stat

import a_record
import pytest
import yaml
from a_record import fixed_ip
from a_site import address_of, instance, multi_host, site
from a_store import content, dump, is_sqlite, keep, put, sql
from ansible_collections.tenantnet.nova.plugins.module_utils import _store
from ansible_collections.tenantnet.nova.plugins.module_utils._core import (
    document,
    history,
    invariants,
    kinds,
    migrations,
    moments,
)
from ansible_collections.tenantnet.nova.plugins.module_utils._core.errors import InputError, StoreError
from ansible_collections.tenantnet.nova.plugins.module_utils._drivers import store, upkeep

VERSION = migrations.SCHEMA_VERSION
BY = history.Author("import", "somebody", 5000.0)


@pytest.fixture
def other(request: pytest.FixtureRequest, url: str, tmp_path: pathlib.Path) -> str:
    """The URL of an empty store of the other engine."""
    return request.getfixturevalue("postgresql_url") if is_sqlite(url) else f"sqlite:///{tmp_path}/other.sqlite"


def lived(url: str) -> str:
    """A store that has seen something: three runs at 1000, 2000 and 3000."""
    put(url, multi_host(instances=[instance(name) for name in ("a", "b", "c")]), now=1000.0, run="first")
    put(url, multi_host(instances=[instance("a"), instance("c", "compute2")]), now=2000.0, run="second")
    put(url, multi_host(instances=[instance("a", mac="02:00:00:00:00:01"), instance("c")]), now=3000.0, run="third")
    return url


def imported(url: str, text: str, replace: bool = False, check_mode: bool = False) -> store.Outcome:
    return upkeep.load(url, upkeep.parse(text, "a.yml"), replace, check_mode, BY)


# --- export and import -----------------------------------------------------------------------------------------------


def test_what_is_exported_is_imported_equal_by_either_engine(url: str, other: str) -> None:
    text = upkeep.export(lived(url))
    assert imported(other, text).changed
    assert content(other) == content(url)
    assert upkeep.export(other) == text
    assert upkeep.fsck(other) == []
    before = dump(other)
    assert not imported(other, text).changed
    assert dump(other) == before


def test_the_history_travels_where_it_is_asked_for(url: str, other: str) -> None:
    text = upkeep.export(lived(url), with_history=True)
    imported(other, text)
    assert upkeep.read(other) == upkeep.read(url)
    assert upkeep.export(other, with_history=True) == text
    assert upkeep.holdings(other) == upkeep.holdings(url)
    # Without it, the import itself is what the history begins with.
    again = imported(other, upkeep.export(put_more(url)), replace=True)
    assert again.changes
    assert {event.run for event in upkeep.read(other).events} == {"first", "second", "third", "import"}
    assert upkeep.fsck(other) == []


def put_more(url: str) -> str:
    put(url, multi_host(instances=[instance("a"), instance("d")]), now=4000.0, run="fourth")
    return url


def test_the_document_is_for_people_and_git(url: str) -> None:
    text = upkeep.export(lived(url))
    assert text.startswith(f"---\nstore: tenantnet.nova\nversion: {VERSION}\nprojects:\n  - {{")
    read = yaml.safe_load(text)
    assert [row["address"] for row in read["fixed_ips"]] == [f"10.0.0.{n}" for n in range(2, 7)]
    put(url, multi_host(instances=[instance("a"), instance("c"), *(instance(f"n{n}") for n in range(9))]), now=3500.0)
    text = upkeep.export(url)
    addresses = [row["address"] for row in yaml.safe_load(text)["fixed_ips"]]
    assert addresses == [f"10.0.0.{n}" for n in range(2, 2 + len(addresses))] and len(addresses) > 10
    lines = text.splitlines()
    held = [instance("a"), instance("c"), *(instance(f"n{n}") for n in range(9)), instance("new")]
    put(url, multi_host(instances=held), now=4000.0)
    more = upkeep.export(url).splitlines()
    assert [line for line in more if line in lines] == lines
    assert len(more) - len(lines) == 3 and all('"new"' in line for line in set(more) - set(lines))


def test_a_document_edited_by_hand_is_yaml(url: str, other: str) -> None:
    text = upkeep.export(lived(url), with_history=True)
    assert document.scan(text) is not None
    for edited in (text.replace("projects:", "# the projects\nprojects:"), yaml.safe_dump(yaml.safe_load(text)), ""):
        assert document.scan(edited) is None
        if edited:
            assert upkeep.parse(edited, "x") == upkeep.parse(text, "x")
    for broken in (text[:-3], text.replace("networks:", "projects:"), text.replace('  - {"', '  - {"" "', 1)):
        assert document.scan(broken) is None
        with pytest.raises(InputError):
            upkeep.parse(broken, "x")


def test_an_import_refuses_a_store_that_holds_something_else(url: str, other: str) -> None:
    text = upkeep.export(lived(url))
    put(other, site(instances=[instance("x")]))
    before = dump(other)
    with pytest.raises(InputError, match="holds other records already.*nothing was imported.*replaced"):
        imported(other, text)
    assert imported(other, text, replace=True, check_mode=True).changed
    assert dump(other) == before
    assert imported(other, text, replace=True).changed
    assert upkeep.export(other) == text
    assert upkeep.fsck(other) == []


def test_an_import_in_check_mode_writes_nothing(url: str, other: str) -> None:
    text = upkeep.export(lived(url))
    assert imported(other, text, check_mode=True).changes
    assert dump(other) == {} if not is_sqlite(other) else not pathlib.Path(other[len("sqlite:///") :]).exists()


#: As the first two versions wrote it; the second one knew whose a record is.
FORMER = """---
store: tenantnet.nova
version: VERSION
projects:
  - {"name": "acme"ORIGIN}
networks:
  - {"label": "blue", "manager": "flatdhcp", "cidr": "10.0.0.0/24", "gateway": "10.0.0.1", "dhcp_server": "10.0.0.1", \
"dhcp_start": "10.0.0.2", "bridge": "br100", "bridge_interface": null, "dns1": null, "dns2": null, "mtu": null, \
"multi_host": true, "host": null, "project": nullORIGIN}
instances:
  - {"name": "a", "project": "acme", "host": "compute1"ORIGIN}
vifs:
  - {"id": "6d5348dd-fef9-5bfa-90eb-54acba97e5d6", "instance": "a", "network": "blue", "mac": "fa:16:3e:00:00:01"}
fixed_ips:
  - {"address": "10.0.0.2", "network": "blue", "instance": null, "host": "compute1", "released_at": null}
  - {"address": "10.0.0.3", "network": "blue", "instance": "a", "host": null, "released_at": null}
  - {"address": "10.0.0.4", "network": "blue", "instance": null, "host": null, "released_at": 1234.5}
"""


@pytest.mark.parametrize(("version", "origin"), [(1, "inventory"), (2, "command")])
def test_an_export_of_a_former_version_is_brought_up_to_date(url: str, version: int, origin: str) -> None:
    written = "" if version == 1 else f', "origin": "{origin}"'
    text = FORMER.replace("VERSION", str(version)).replace("ORIGIN", written)
    imported(url, text)
    held = content(url)
    assert {row.origin for row in (*held.projects.values(), *held.networks.values(), *held.instances.values())} == {
        origin
    }
    assert (held.networks["blue"].allowed_start, held.networks["blue"].allowed_end) == ("10.0.0.2", "10.0.0.254")
    assert [(row.version, row.instance, row.host, row.released_at) for row in held.fixed_ips.values()] == [
        (4, None, "compute1", None),
        (4, "a", None, None),
        (4, None, None, 1234.5),
    ]
    assert upkeep.fsck(url) == []


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("---", "--- [", "a.yml is no YAML in line"),
        ("store: tenantnet.nova", "shop: x", "no export of a store"),
        (
            f"version: {VERSION}",
            "version: 99",
            f"version 99, but this collection knows 1 to {VERSION}; update the collection",
        ),
        (f"version: {VERSION}", "version: two", "version 'two'"),
        ('"mtu": null', '"mtu": "big"', r"networks\[0\].mtu: 'big' is not a whole number"),
        ('"multi_host": true', '"multi_host": "yes"', "'yes' is not true or false"),
        ('"name": "acme", ', "", r"projects\[0\].name is required"),
        ('"name": "acme"', '"name": 5', "5 is not a text; put it in quotes"),
        ('"name": "acme"', '"title": "x", "name": "acme"', "unknown 'title'"),
        ("projects:", "tenants: []\nprojects:", "unknown sections: 'tenants'"),
        ("projects:\n", "projects: 5\nx:\n", "projects: 5 is not a list"),
        ('"address": "10.0.0.2"', '"address": "10.0.1.2"', "fixed_ips 10.0.1.2 lies outside its network blue"),
        ('"address": "10.0.0.2"', '"address": "10.0.0.1"', "fixed_ips 10.0.0.1 is the network's own"),
        ('"address": "10.0.0.2"', '"address": "ten"', "'ten' is not an address such as"),
        ('"origin": "inventory"', '"origin": "heaven"', "'heaven' is not one of inventory, command"),
    ],
)
def test_a_document_that_is_wrong_is_refused_before_anything(sqlite_url: str, old: str, new: str, named: str) -> None:
    text = upkeep.export(lived(sqlite_url))
    assert old in text
    with pytest.raises(InputError, match=named):
        upkeep.parse(text.replace(old, new, 1), "a.yml")


# --- backup ----------------------------------------------------------------------------------------------------------


def test_a_backup_is_a_store_with_everything_in_it(url: str, tmp_path: pathlib.Path) -> None:
    target = tmp_path / "backup.sqlite"
    lived(url)
    before = dump(url)
    assert upkeep.backup(url, str(target), True) and not target.exists()
    assert upkeep.backup(url, str(target), False)
    assert dump(url) == before
    assert target.stat().st_mode & 0o777 == 0o600
    copy = f"sqlite:///{target}"
    assert upkeep.read(copy) == upkeep.read(url)
    assert upkeep.fsck(copy) == []
    inode = target.stat().st_ino
    assert not upkeep.backup(url, str(target), False)
    assert target.stat().st_ino == inode
    put_more(url)
    assert upkeep.backup(url, str(target), False)
    assert upkeep.read(copy) == upkeep.read(url)
    assert sorted(path.name for path in tmp_path.glob("*backup*")) == ["backup.sqlite"]


def test_a_backup_replaces_nothing_but_a_backup(url: str, tmp_path: pathlib.Path) -> None:
    lived(url)
    (tmp_path / "precious").write_text("letters")
    with pytest.raises(InputError, match="no backup of a store"):
        upkeep.backup(url, str(tmp_path / "precious"), False)
    assert (tmp_path / "precious").read_text() == "letters"
    with pytest.raises(InputError, match="no absolute path"):
        upkeep.backup(url, "backup", False)
    with pytest.raises(StoreError, match="cannot be written"):
        upkeep.backup(url, str(tmp_path / "no/such/folder/backup"), False)
    if is_sqlite(url):
        with pytest.raises(InputError, match="the store itself"):
            upkeep.backup(url, url[len("sqlite:///") :], False)


@pytest.mark.parametrize("work", [upkeep.fsck, upkeep.export, upkeep.holdings, upkeep.read])
def test_where_there_is_no_store(url: str, work) -> None:
    with pytest.raises(StoreError, match="there is no store at .* yet"):
        work(url)
    if not is_sqlite(url):
        assert dump(url) == {}


# --- the invariants --------------------------------------------------------------------------------------------------


def network(
    cidr: str = "10.9.0.0/24",
    gateway: str = "10.9.0.1",
    start: str = "10.9.0.2",
    end: str = "10.9.0.254",
    bridge: str = "br9",
    manager: str = "flatdhcp",
    host: str = "NULL",
    vlan: str = "NULL",
) -> str:
    return (
        "INSERT INTO networks (label, uuid, manager, cidr, gateway, dhcp_server, dhcp_start, allowed_start,"
        " allowed_end, bridge, multi_host, host, vlan, origin)"
        f" VALUES ('red', 'x', '{manager}', '{cidr}', '{gateway}', '{gateway}', '{start}', '{start}', '{end}',"
        f" '{bridge}', TRUE, {host}, {vlan}, 'inventory')"
    )


FLOATING = "INSERT INTO floating_ips (address, pool, auto_assigned, origin"


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (network(), None),
        (network(start="10.9.0.9", end="10.9.0.8"), "allowed_start 10.9.0.9 is above allowed_end 10.9.0.8"),
        (network(cidr="10.9.0.5/24"), "cidr 10.9.0.5/24 is not in its canonical form 10.9.0.0/24"),
        (network("10.0.0.128/25", "10.0.0.129", "10.0.0.130", "10.0.0.254"), "overlaps 10.0.0.0/24 of network blue"),
        (network(cidr="nonsense"), "cidr: 'nonsense' is not an IPv4 range"),
        (network(gateway="10.8.0.1"), "gateway 10.8.0.1 lies outside 10.9.0.0/24"),
        (network(bridge="br100"), "bridge br100 already belongs to network"),
        (network(host="'net1'"), "host is 'net1', but as it is multi_host it has no host of its own"),
        (network(manager="magic"), "manager 'magic' is not one of"),
        (network(manager="vlan"), "networks red: it is a VLAN network without a VLAN"),
        (network(vlan="100"), "networks red: it is a flatdhcp network with a VLAN or VPN"),
        ("UPDATE fixed_ips SET address = '10.1.0.2' WHERE address = '10.0.0.2'", "fixed_ips 10.1.0.2 lies outside"),
        ("UPDATE fixed_ips SET address = '10.0.0.255' WHERE address = '10.0.0.2'",
         "fixed_ips 10.0.0.255 is the network or broadcast address"),
        ("UPDATE fixed_ips SET address = '10.0.0.1' WHERE address = '10.0.0.2'", "fixed_ips 10.0.0.1 is the network's"),
        ("DELETE FROM fixed_ips WHERE instance = 'a'", "vifs a/blue has 0 IPv4 addresses instead of 1"),
        ("UPDATE vifs SET mac = 'FA:16:3E:00:00:01' WHERE instance = 'a'", "mac FA:16:3E:00:00:01 is not in its canon"),
        ("UPDATE vifs SET allowed_address_pairs = '10.0.0.9,10.0.0.8' WHERE instance = 'a'",
         "vifs a/blue: allowed_address_pairs 10.0.0.9,10.0.0.8 is not in its canonical form"),
        ("UPDATE vifs SET allowed_address_pairs = 'all=' WHERE instance = 'a'", "vifs a/blue.*'all' is not an address"),
        ("UPDATE vifs SET id = 'x' WHERE instance = 'a'", "vifs a/blue: id x is not .* as derived"),
        ("UPDATE networks SET project = 'acme', project_origin = 'need';"
         "INSERT INTO projects (name, origin) VALUES ('other', 'inventory');"
         "UPDATE instances SET project = 'other' WHERE name = 'a'", "belongs to project acme, the instance to other"),
        ("INSERT INTO security_groups VALUES ('acme', 'x', 'blue', '10.5.0.0/28', 'command', NULL)",
         "security_groups acme/x: subnet 10.5.0.0/28 lies outside its network blue 10.0.0.0/24"),
        (f"{FLOATING}) VALUES ('10.0.0.99', 'nova', FALSE, 'command')", "lies inside the fixed range 10.0.0.0/24"),
        (f"{FLOATING}, project, allocated_by, fixed_address, associated_by) VALUES ('192.0.2.1', 'nova', FALSE,"
         " 'command', 'acme', 'command', '10.0.0.2', 'command')", "leads to 10.0.0.2, which no instance holds"),
        ("UPDATE fixed_ips SET network = network, released_at = released_at + 1 WHERE released_at IS NOT NULL",
         "fixed_ips 10.0.0.4 is not as the history tells"),
        ("UPDATE instances SET host = 'net1' WHERE name = 'a'", "instances a is not as the history tells"),
        ("UPDATE history SET after = NULL WHERE kind = 'projects'", "projects acme is not as the history tells"),
    ],
)  # fmt: skip
def test_fsck_finds_and_names_what_is_wrong(url: str, damage: str, named: str | None) -> None:
    lived(url)
    assert upkeep.fsck(url) == []
    sql(url, *damage.split(";"))
    before = dump(url)
    found = upkeep.fsck(url)
    if named is None:
        assert found == []
    else:
        with pytest.raises(AssertionError, match=named):
            raise AssertionError(found)
    assert dump(url) == before


def test_a_range_within_one_that_is_not_its_neighbour() -> None:
    labels = {"wide": "10.0.0.0/16", "first": "10.0.1.0/24", "second": "10.0.2.0/24", "apart": "10.1.0.0/24"}
    held = a_record.state_of(*(a_record.network(label, cidr) for label, cidr in labels.items()))
    assert invariants.violations(kinds.rows_of(held)) == [
        "networks first: 10.0.1.0/24 overlaps 10.0.0.0/16 of network wide",
        "networks second: 10.0.2.0/24 overlaps 10.0.0.0/16 of network wide",
    ]


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        ("DELETE FROM instances WHERE name = 'a'", "vifs a/blue refers to instances a, which is not there"),
        ("DELETE FROM networks", "refers to networks blue, which is not there"),
        ("DELETE FROM vifs WHERE instance = 'a'", "refers to vifs a/blue, which is not there"),
    ],
)
def test_fsck_finds_orphans(url: str, damage: str, named: str) -> None:
    lived(url)
    if is_sqlite(url):
        sql(url, "COMMIT", "PRAGMA foreign_keys = OFF", "BEGIN", damage)
    else:
        sql(url, "SET session_replication_role = replica", damage)
    assert any(named in line for line in upkeep.fsck(url)), upkeep.fsck(url)


def test_fsck_finds_lost_constraints_and_what_they_kept_out(postgresql_url: str) -> None:
    lived(postgresql_url)
    sql(
        postgresql_url,
        "ALTER TABLE fixed_ips DROP CONSTRAINT one_holder_or_none",
        "ALTER TABLE vifs DROP CONSTRAINT vifs_mac_key",
        "ALTER TABLE fixed_ips DROP CONSTRAINT fixed_ips_network_fkey",
        "UPDATE vifs SET mac = '02:00:00:00:00:01'",
        "UPDATE fixed_ips SET host = 'x' WHERE instance = 'a'",
    )
    found = "\n".join(upkeep.fsck(postgresql_url))
    assert "table fixed_ips has lost the check one_holder_or_none" in found
    assert "table vifs has lost the constraint that mac are unique" in found
    assert "table fixed_ips has lost the reference of network" in found
    assert "have the same mac '02:00:00:00:00:01'" in found
    assert "breaks the check one_holder_or_none" in found
    sql(postgresql_url, "ALTER TABLE vifs DROP COLUMN mac")
    assert "column vifs.mac is not there" in upkeep.fsck(postgresql_url)
    sql(postgresql_url, "DROP TABLE fixed_ips CASCADE")
    assert "table fixed_ips is not there" in upkeep.fsck(postgresql_url)


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        ("UPDATE fixed_ips SET number = 5 WHERE address = '10.1.0.3'", "fixed_ips 10.1.0.3: number 5 is not 167837699"),
        ("UPDATE fixed_ips SET number = NULL WHERE address = '10.1.0.3'", "10.1.0.3: number None is not 167837699"),
        ("UPDATE fixed_ips SET number = 5 WHERE address = 'fd00::3'", "fixed_ips fd00::3: number 5 is not None"),
        ("UPDATE floating_ips SET number = 5 WHERE address = '192.0.2.9'", "192.0.2.9: number 5 is not 3221225993"),
        ("UPDATE fixed_ip_runs SET last = last + 1", "fixed_ip_runs red: 10.1.0.2 to 10.1.0.4 is not as the records"),
        ("DELETE FROM fixed_ip_runs", "fixed_ip_runs red: 10.1.0.2 to 10.1.0.3 is missing"),
        ("DROP INDEX fixed_ips_by_network_number", "table fixed_ips has lost the index fixed_ips_by_network_number"),
        ("DROP INDEX history_by_record", "table history has lost the index history_by_record"),
        ("DROP TABLE fixed_ip_runs", "table fixed_ip_runs is not there"),
    ],
)
def test_fsck_finds_that_what_addresses_are_looked_for_by_is_wrong(url: str, damage: str, named: str) -> None:
    keep(url, a_record.site(0, *(fixed_ip(text, released_at=1.0) for text in ("10.1.0.2", "10.1.0.3", "fd00::3"))))
    before = upkeep.fsck(url)
    sql(url, damage)
    told = [line for line in upkeep.fsck(url) if line not in before]
    assert any(named in line for line in told), told
    assert len(told) <= 2


def test_fsck_sees_a_damaged_file(sqlite_url: str) -> None:
    put(sqlite_url, site(instances=[instance(f"i{n}") for n in range(100)]))
    [(page,)] = sql(sqlite_url, "SELECT rootpage FROM sqlite_master WHERE name = 'sqlite_autoindex_fixed_ips_1'")
    path = pathlib.Path(sqlite_url[len("sqlite:///") :])
    data = bytearray(path.read_bytes())
    data[(page - 1) * 4096 + 3 : (page - 1) * 4096 + 5] = b"\0\1"
    path.write_bytes(data)
    try:
        assert any(line.startswith("the file: ") for line in upkeep.fsck(sqlite_url))
    except StoreError as error:
        assert "malformed" in str(error)


# --- the history -----------------------------------------------------------------------------------------------------


def told(found: list[history.Holding]) -> list[tuple]:
    return [(each.instance or each.host, each.since, each.until) for each in found]


def test_who_held_an_address_at_that_time(url: str) -> None:
    put(url, site(instances=[instance("a", address="10.0.0.9")]), now=1000.0, run="1")
    put(url, site(instances=[instance("a", address="10.0.0.9"), instance("x")]), now=1500.0, run="2")
    put(url, site(instances=[instance("b")]), now=2000.0, run="3")
    put(url, site(instances=[instance("b"), instance("c", address="10.0.0.9")]), now=3000.0, run="4")
    found = upkeep.holdings(url, address="10.0.0.9")
    assert told(found) == [("c", 3000.0, None), ("a", 1000.0, 2000.0)]
    assert [(each.first.run, each.first.user_name) for each in found] == [("4", "somebody"), ("1", "somebody")]
    assert found[1].last.run == "3"
    for at, holder in ((999.0, []), (1000.0, ["a"]), (1999.0, ["a"]), (2000.0, []), (2500.0, []), (3000.0, ["c"])):
        assert [each.instance for each in upkeep.holdings(url, address="10.0.0.9", at=at)] == holder
    mac = found[1].mac
    assert mac and told(upkeep.holdings(url, mac=mac)) == [("a", 1000.0, 2000.0)]
    assert told(upkeep.holdings(url, instance="x")) == [("x", 1500.0, 2000.0)]
    assert upkeep.holdings(url, address="10.0.0.77") == []


def test_a_change_of_the_mac_divides_a_holding(url: str) -> None:
    lived(url)
    address = address_of(content(url), "a")
    found = upkeep.holdings(url, address=address)
    assert told(found) == [("a", 3000.0, None), ("a", 1000.0, 3000.0)]
    assert found[0].mac == "02:00:00:00:00:01" != found[1].mac


def test_a_gateway_of_a_host_has_a_history_too(url: str) -> None:
    lived(url)
    [row] = [row for row in content(url).fixed_ips.values() if row.host == "compute2"]
    assert told(upkeep.holdings(url, address=row.address)) == [("compute2", 2000.0, None)]


def test_each_change_is_recorded_once_and_with_its_transaction(url: str) -> None:
    first = put(url, site(instances=[instance("a")]), run="pipeline 7").changes
    events = upkeep.read(url).events
    assert len(events) == sum(len(change.added) for change in first.values()) == 5
    assert {(event.run, event.user_name, event.at) for event in events} == {("pipeline 7", "somebody", 1000.0)}
    assert len({event.change for event in events}) == 1
    put(url, site(instances=[instance("a")]), now=2000.0)
    assert upkeep.read(url).events == events
    with pytest.raises(InputError):
        put(url, site(instances=[instance("a", address="10.1.1.1")]))
    assert upkeep.read(url).events == events


def test_moments() -> None:
    noon = datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.timezone.utc).timestamp()
    for text in ("2026-03-01T12:00:00Z", "2026-03-01 13:00:00+01:00", "2026-03-01T12:00", str(noon)):
        assert moments.read(text, "at") == noon
    assert moments.text(noon) == "2026-03-01T12:00:00.000000Z"
    assert moments.text(None) is None
    with pytest.raises(InputError, match="at: 'yesterday' is not a time; give one such as"):
        moments.read("yesterday", "at")


# --- through the modules' own functions ------------------------------------------------------------------------------


def test_the_operations(url: str, other: str, tmp_path: pathlib.Path) -> None:
    lived(url)
    common = {"state_url": url, "history": False, "replace": False, "run": None, "user": "me"}
    target = tmp_path / "x/store.yml"
    export = {**common, "operation": "export", "dest": str(target)}
    assert _store.operate(export, True)["changed"] and not target.exists()
    assert _store.operate(export, False)["actions"] == [f"write the document {target}"]
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert not _store.operate(export, False)["changed"]
    load = {**common, "operation": "import", "state_url": other, "src": str(target)}
    assert "create network blue" in " ".join(_store.operate(load, True)["actions"])
    assert _store.operate(load, False)["changed"]
    assert not _store.operate(load, False)["changed"]
    assert {event.user_name for event in upkeep.read(other).events} == {"me"}
    assert not _store.operate({**common, "operation": "migrate"}, False)["changed"]
    backup = {**common, "operation": "backup", "dest": str(tmp_path / "b.sqlite")}
    assert [_store.operate(backup, mode)["changed"] for mode in (True, False, False)] == [True, True, False]
    info = _store.info({"state_url": url, "gather": ["counts", "violations", "document"], "history": False})
    assert info["violations"] == [] and info["version"] == VERSION and info["document"] == target.read_text()
    assert info["counts"]["instances"] == 2
    asked = {"state_url": url, "address": None, "mac": "02-00-00-00-00-01", "instance": "a", "at": "3000"}
    [held] = _store.held(asked)["holdings"]
    assert held["given_by"] == {"run": "third", "user": "somebody"} and held["until"] is held["taken_by"] is None
    assert held["since"] == "1970-01-01T00:50:00.000000Z"
    with pytest.raises(InputError, match="is not there"):
        _store.operate({**load, "src": "/no/such.yml"}, False)
