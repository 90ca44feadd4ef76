"""Deciding parts of the runc runtime: profiles, capabilities, users, configuration, files, cgroups, log lines."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podbay.errors import StartError
from podbay.node.observed import ImageConfig, LogLine, ResolvedUser
from podbay.node.pod_files import hosts_text, resolv_conf_text, usable_resolv_conf
from podbay.node.runc.capabilities import ALL_CAPABILITIES, bounding_set, capabilities_for
from podbay.node.runc.cgroups import cpu_weight, find_cgroups
from podbay.node.runc.container import signal_number
from podbay.node.runc.logs import LineParser
from podbay.node.runc.machine import IdMap, read_id_map
from podbay.node.runc.network import choose_subnet
from podbay.node.runc.pause import pause_program
from podbay.node.runc.seccomp import default_profile, resolve
from podbay.node.runc.spec import BoundMount, Machine, Surroundings, build_config
from podbay.node.runc.users import home_of, resolve_user
from podbay.node.specs import (
    Capabilities,
    ContainerSpec,
    Dns,
    HostAlias,
    Limits,
    SandboxSpec,
    Security,
    Tmpfs,
    User,
)

EVERYTHING = frozenset(ALL_CAPABILITIES)

# Seccomp


def _verdict(profile: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return [rule for rule in profile["syscalls"] if name in rule["names"]]


def test_default_profile_refuses_what_escapes_need() -> None:
    profile = default_profile("amd64", ["CAP_CHOWN"])
    assert (profile["defaultAction"], profile["defaultErrnoRet"]) == ("SCMP_ACT_ERRNO", 1)
    assert profile["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]
    for name in (
        "mount",
        "unshare",
        "setns",
        "bpf",
        "kexec_load",
        "init_module",
        "add_key",
        "keyctl",
        "reboot",
        "io_uring_setup",
    ):
        assert not _verdict(profile, name), name
    [clone] = _verdict(profile, "clone")
    assert clone["args"][0]["value"] == 0x7E020000
    # Not permitted would make programs give up; "no such call" makes them use clone.
    assert _verdict(profile, "clone3") == [{"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}]
    assert [rule["args"][0]["value"] for rule in _verdict(profile, "personality")] == [
        0,
        8,
        0x20000,
        0x20008,
        0xFFFFFFFF,
    ]


def test_default_profile_opens_with_capabilities() -> None:
    profile = default_profile("amd64", ["CAP_SYS_ADMIN", "CAP_SYS_TIME"])
    for name in ("mount", "unshare", "clone3", "clock_settime"):
        assert [rule["action"] for rule in _verdict(profile, name)] == ["SCMP_ACT_ALLOW"], name
    assert not _verdict(profile, "reboot")


@pytest.mark.parametrize(
    ("architecture", "name", "allowed"),
    [
        ("amd64", "arch_prctl", True),
        ("arm64", "arch_prctl", False),
        ("arm64", "cacheflush", True),
        ("amd64", "cacheflush", False),
    ],
)
def test_default_profile_per_architecture(architecture: str, name: str, allowed: bool) -> None:
    assert bool(_verdict(default_profile(architecture, []), name)) is allowed


def test_profile_conditions() -> None:
    rules = [
        {"names": ["a"], "action": "x", "includes": {"caps": ["CAP_A", "CAP_B"]}},
        {"names": ["b"], "action": "x", "excludes": {"caps": ["CAP_A"]}},
        {"names": ["c"], "action": "x", "includes": {"arches": ["arm64"]}},
        {"names": ["d"], "action": "x", "excludes": {"arches": ["amd64"]}},
        {"names": ["e"], "action": "x", "includes": {"minKernel": "4.8"}},
        {"names": ["f"], "action": "x", "includes": {"minKernel": "9.0"}},
        {"name": "g", "action": "x", "args": None},
    ]
    profile = {
        "defaultAction": "y",
        "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
        "syscalls": rules,
    }
    found = resolve(profile, "amd64", ["CAP_A"], (6, 1))
    assert [rule["names"] for rule in found["syscalls"]] == [["e"], ["g"]]
    assert found["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]
    assert "includes" not in found["syscalls"][0]
    with pytest.raises(StartError):
        resolve({"syscalls": []}, "amd64", [], (6, 1))


# Capabilities


@pytest.mark.parametrize(
    ("add", "drop", "has", "lacks"),
    [
        ((), (), ["CAP_CHOWN", "CAP_NET_RAW"], ["CAP_SYS_ADMIN"]),
        (("SYS_ADMIN",), (), ["CAP_SYS_ADMIN", "CAP_CHOWN"], []),
        (("cap_sys_admin",), (), ["CAP_SYS_ADMIN"], []),
        ((), ("CHOWN",), [], ["CAP_CHOWN"]),
        ((), ("ALL",), [], ["CAP_CHOWN", "CAP_KILL"]),
        (("KILL",), ("ALL",), ["CAP_KILL"], ["CAP_CHOWN"]),
        (("SYS_ADMIN",), ("SYS_ADMIN",), ["CAP_CHOWN"], ["CAP_SYS_ADMIN"]),
        (("KILL", "CHOWN"), ("ALL", "CHOWN"), ["CAP_KILL"], ["CAP_CHOWN"]),
        (("ALL",), ("SYS_ADMIN",), ["CAP_CHOWN", "CAP_BPF"], ["CAP_SYS_ADMIN"]),
    ],
)
def test_capability_sets(
    add: tuple[str, ...], drop: tuple[str, ...], has: list[str], lacks: list[str]
) -> None:
    found = set(capabilities_for(Security(capabilities=Capabilities(add, drop)), EVERYTHING))
    assert found >= set(has)
    assert not found & set(lacks)


def test_capabilities_nobody_knows() -> None:
    with pytest.raises(StartError, match='unknown capability "CAP_FLY"'):
        capabilities_for(Security(capabilities=Capabilities(add=["FLY"])), EVERYTHING)


def test_never_more_than_is_available() -> None:
    available = bounding_set("Name:\tx\nCapBnd:\t0000000000000001\n")
    assert available == {"CAP_CHOWN"}
    assert capabilities_for(Security(privileged=True), available) == ["CAP_CHOWN"]


# Users

PASSWD = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:100::/home/app:/bin/sh\n# comment\nbroken\n12:x:0:0::/:\n"
GROUP = "root:x:0:\nusers:x:100:\nwheel:x:10:root,app\nadm:x:4:app\n13:x:0:\n"


@pytest.mark.parametrize(
    ("user", "image_user", "expected"),
    [
        (User(), "", ResolvedUser(0, 0, (0, 10))),
        (User(), "app", ResolvedUser(1000, 100, (4, 10, 100))),
        (User(), "app:wheel", ResolvedUser(1000, 10, (4, 10))),
        (User(), "1000", ResolvedUser(1000, 100, (4, 10, 100))),
        (User(), "555:666", ResolvedUser(555, 666, (666,))),
        # A number is never a name: an image could give itself root where a number was promised.
        (User(), "12", ResolvedUser(12, 0, (0,))),
        (User(uid=12, gid=12), "", ResolvedUser(12, 12, (12,))),
        (User(), "12:13", ResolvedUser(12, 13, (13,))),
        (User(), "01000", ResolvedUser(1000, 100, (4, 10, 100))),
        (User(uid=1000), "ghost", ResolvedUser(1000, 100, (4, 10, 100))),
        (User(uid=1000, gid=5), "", ResolvedUser(1000, 5, (4, 5, 10))),
        (User(uid=1000, groups=(9, 10), merge_image_groups=False), "", ResolvedUser(1000, 100, (9, 10, 100))),
        (User(gid=3), "app", ResolvedUser(1000, 3, (3, 4, 10))),
    ],
)
def test_users(user: User, image_user: str, expected: ResolvedUser) -> None:
    assert resolve_user(user, image_user, PASSWD, GROUP) == expected


@pytest.mark.parametrize(
    "image_user", ["ghost", "app:ghosts", "-1", "99999999999", "app:99999999999", "9" * 5000]
)
def test_users_that_are_not_there(image_user: str) -> None:
    passwd, group = PASSWD + "99999999999:x:0:0::/:\n", GROUP + "99999999999:x:0:\n"
    with pytest.raises(StartError, match="no matching entries"):
        resolve_user(User(), image_user, passwd, group)


def test_homes() -> None:
    assert (home_of(1000, PASSWD), home_of(5, PASSWD)) == ("/home/app", "/")


@given(st.text(max_size=80), st.text(max_size=80), st.text(alphabet="app:0 1-é", max_size=8))
def test_any_account_files_can_be_read(passwd: str, group: str, image_user: str) -> None:
    try:
        resolve_user(User(), image_user, passwd, group)
    except StartError:
        pass


@pytest.mark.parametrize(
    ("name", "number"),
    [("", 15), ("SIGUSR1", 10), ("usr1", 10), ("9", 9), ("SIGRTMIN+3", 37), ("RTMAX-1", 63), ("SIGNOPE", 15)],
)
def test_signal_names(name: str, number: int) -> None:
    assert signal_number(name) == number


# Configuration

MACHINE = Machine("amd64", (6, 1), 2, True, frozenset({"memory", "cpu", "pids"}), True, False, -1000)
ROOT = ResolvedUser(0, 0, (0,))


def _config(machine: Machine = MACHINE, image: ImageConfig = ImageConfig(), **values: Any) -> dict[str, Any]:  # noqa: B008
    spec = ContainerSpec(**{"name": "c", "image": "i", "image_id": "i", "command": ["true"], **values})
    around = Surroundings(root="/r", cgroup="/g", hostname="h", namespaces={"network": "/n", "pid": ""})
    return build_config(spec, image, ROOT, around, machine)


def test_limits_become_cgroup_values() -> None:
    limits = Limits(memory=1 << 20, cpu_shares=102, cpu_quota=50_000, pids=7, oom_score_adj=-997)
    config = _config(limits=limits)
    assert config["linux"]["resources"]["memory"] == {"limit": 1 << 20, "swap": 1 << 20}
    assert config["linux"]["resources"]["cpu"] == {"shares": 102, "quota": 50_000, "period": 100_000}
    assert config["linux"]["resources"]["pids"] == {"limit": 7}
    assert config["linux"]["resources"]["unified"] == {"memory.oom.group": "1"}
    assert config["process"]["oomScoreAdj"] == -997


def test_limits_where_the_machine_has_little() -> None:
    machine = Machine("amd64", (6, 1), 1, False, frozenset({"memory"}), True, False, 100)
    limits = Limits(memory=5, cpu_shares=2, pids=3, oom_score_adj=-5)
    config = _config(machine, limits=limits)
    assert config["linux"]["resources"]["memory"] == {"limit": 5}
    assert "cpu" not in config["linux"]["resources"]
    assert "pids" not in config["linux"]["resources"]
    assert config["process"]["oomScoreAdj"] == 100


def test_privileged_containers() -> None:
    config = _config(security=Security(privileged=True))
    assert "seccomp" not in config["linux"]
    assert "maskedPaths" not in config["linux"]
    assert config["linux"]["resources"]["devices"] == [{"allow": True, "access": "rwm"}]
    assert "rw" in next(m for m in config["mounts"] if m["destination"] == "/sys")["options"]


def test_mounts_are_ordered_by_depth_and_replace_the_systems() -> None:
    spec = ContainerSpec(name="c", image="i", image_id="i", command=["true"])
    files = [
        BoundMount("/x", "/a/b/c", True),
        BoundMount("/y", "/a", propagation="host_to_container"),
        BoundMount(Tmpfs(10), "/dev/mqueue"),
    ]
    config = build_config(
        spec, ImageConfig(), ROOT, Surroundings(root="/r", cgroup="/g", files=files), MACHINE
    )
    mounts = {mount["destination"]: mount for mount in config["mounts"]}
    assert [mount["destination"] for mount in config["mounts"]][-3:] == ["/a", "/dev/mqueue", "/a/b/c"]
    assert mounts["/a/b/c"]["options"] == ["rbind", "rprivate", "ro"]
    assert "rslave" in mounts["/a"]["options"]
    assert "size=10" in mounts["/dev/mqueue"]["options"]
    assert len([m for m in config["mounts"] if m["destination"] == "/dev/mqueue"]) == 1


def test_environment_order() -> None:
    image = ImageConfig(env=("PATH=/img", "A=img", "BARE"))
    config = _config(image=image, env=[("A", "pod"), ("A", "last")], tty=True)
    assert config["process"]["env"] == ["PATH=/img", "HOSTNAME=h", "TERM=xterm", "A=last", "BARE=", "HOME=/"]


# Files

HOSTS = SandboxSpec(pod_uid="u", pod_name="p", pod_namespace="n", hostname="box")


def test_hosts_files() -> None:
    text = hosts_text(HOSTS, ["10.88.0.5"], "")
    assert text.startswith(
        "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
    )
    assert text.endswith("10.88.0.5\tbox\n")
    own = SandboxSpec(
        pod_uid="u",
        pod_name="p",
        pod_namespace="n",
        host_network=True,
        host_aliases=[HostAlias("1.2.3.4", ["a", "b"])],
    )
    assert hosts_text(own, [], "9.9.9.9 node\n") == (
        "# Kubernetes-managed hosts file (host network).\n9.9.9.9 node\n\n# Entries added by HostAliases.\n1.2.3.4\ta\tb\n"
    )


def test_resolvers() -> None:
    assert resolv_conf_text(Dns(), "nameserver 1.1.1.1\n") == "nameserver 1.1.1.1\n"
    dns = Dns(("10.0.0.10",), ("ns.svc", "svc"), ("ndots:5",))
    assert resolv_conf_text(dns, "x") == "search ns.svc svc\nnameserver 10.0.0.10\noptions ndots:5\n"
    assert usable_resolv_conf("nameserver 127.0.0.53\nnameserver 8.8.8.8\n")
    assert not usable_resolv_conf("# none\nnameserver 127.0.0.53\nnameserver ::1\nnameserver\n")


def test_pause_programs() -> None:
    for architecture in ("amd64", "arm64"):
        program = pause_program(architecture)
        assert program is not None
        assert program.startswith(b"\x7fELF\x02\x01\x01")
        assert len(program) < 300
    assert pause_program("s390x") is None


# Machine


def test_finding_cgroups(tmp_path: Path) -> None:
    hybrid = (
        "30 1 0:26 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
        "31 1 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
        "32 1 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n"
        "33 1 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
    )
    found = find_cgroups(hybrid)
    assert found.version == 1
    assert found.controllers() == {"cpu", "cpuacct", "memory"}
    assert found.paths("g") == [Path("/sys/fs/cgroup/cpu,cpuacct/g"), Path("/sys/fs/cgroup/memory/g")]
    assert find_cgroups("33 1 0:29 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n").version == 2
    assert find_cgroups("33 1 0:29 / / rw - ext4 /dev/vda rw\n").version == 0


@pytest.mark.parametrize(("shares", "weight"), [(2, 1), (1024, 39), (262144, 10000), (0, 1), (10**9, 10000)])
def test_cpu_weights(shares: int, weight: int) -> None:
    assert cpu_weight(shares) == weight


HEADER = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"


def _route(network: str) -> str:
    parsed = IPv4Network(network)
    fields = [
        int.from_bytes(address.packed, "little") for address in (parsed.network_address, parsed.netmask)
    ]
    return f"eth0\t{fields[0]:08X}\t00000000\t0001\t0\t0\t0\t{fields[1]:08X}\t0\t0\t0\n"


@pytest.mark.parametrize(
    ("routes", "expected"),
    [
        ([], "10.88.0.0/20"),
        (["0.0.0.0/0"], "10.88.0.0/20"),
        (["10.88.0.0/16", "10.89.7.0/24"], "10.89.16.0/20"),
        (["10.64.0.0/11"], "10.96.0.0/20"),
    ],
)
def test_a_free_range_is_chosen(routes: list[str], expected: str) -> None:
    assert str(choose_subnet(HEADER + "".join(map(_route, routes)))) == expected


def test_no_free_range() -> None:
    assert choose_subnet(HEADER + _route("10.0.0.0/8")) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("         0          0 4294967295\n", IdMap(True, 4294967295)),
        ("         0       1000          1\n", IdMap(False, 1)),
        ("         0       1000          1\n         1     100000      65535\n", IdMap(False, 65536)),
    ],
)
def test_user_namespaces(text: str, expected: IdMap) -> None:
    assert read_id_map(text) == expected


def test_configuration_in_a_user_namespace() -> None:
    machine = Machine("amd64", (6, 1), 0, False, frozenset(), True, False, 0, rootless=True, many_users=False)
    spec = ContainerSpec(
        name="c", image="i", image_id="i", command=["true"], limits=Limits(memory=5, oom_score_adj=5)
    )
    config = build_config(
        spec, ImageConfig(), ResolvedUser(0, 0, (0, 7)), Surroundings(root="/r", cgroup="/g"), machine
    )
    assert "cgroupsPath" not in config["linux"]
    assert "resources" not in config["linux"]
    assert "oomScoreAdj" not in config["process"]
    assert config["process"]["user"]["additionalGids"] == []
    mounts = {mount["destination"]: mount for mount in config["mounts"]}
    assert "/sys/fs/cgroup" not in mounts
    assert (mounts["/sys"]["type"], mounts["/sys"]["source"]) == ("bind", "/sys")
    assert "gid=5" not in mounts["/dev/pts"]["options"]


# Log lines


def test_log_lines() -> None:
    parser = LineParser()
    text = (
        b"2026-01-01T00:00:00.000000001+00:00 stdout F one\n"
        b"2026-01-01T01:00:00.5+01:00 stderr P half\n"
        b"2026-01-01T00:00:00.500000000Z stdout F  two  spaces \n"
        b"garbage\n\n2026-13-01T00:00:00.1Z stdout F x\n"
        b"2026-01-01T00:00:01.000000000Z stdout F \n"
        b"2026-01-01T00:00:02.000000000Z stdout F unfini"
    )
    base = 1767225600_000000000
    expected = [
        LogLine(base + 1, "stdout", False, b"one"),
        LogLine(base + 500_000_000, "stderr", True, b"half"),
        LogLine(base + 500_000_000, "stdout", False, b" two  spaces "),
        LogLine(base + 1_000_000_000, "stdout", False, b""),
    ]
    assert parser.feed(text) == expected
    assert parser.feed(b"shed\n") == [LogLine(base + 2_000_000_000, "stdout", False, b"unfinished")]


@given(st.lists(st.binary(max_size=30), max_size=10))
def test_any_bytes_can_be_parsed(chunks: list[bytes]) -> None:
    parser = LineParser()
    for chunk in chunks:
        parser.feed(chunk)
