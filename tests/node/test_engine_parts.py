"""The parts of the engine runtime that need no engine: reading answers, logs, errors, names, bodies."""

from __future__ import annotations

import gzip
import io
import json
import struct
import tarfile
from pathlib import Path
from typing import Any

import images
import pytest
from images import Layer, build

from podbay.errors import InvalidInputError, RuntimeUnavailableError
from podbay.node.engine.api import Answer, negotiated
from podbay.node.engine.container_body import SandboxFacts, container_body, sandbox_body, user_text
from podbay.node.engine.endpoint import parse_endpoint
from podbay.node.engine.keeper_image import keeper_archive
from podbay.node.engine.labels import Names, container_labels, own_labels, sandbox_labels
from podbay.node.engine.log_frames import LogFrames
from podbay.node.engine.oci_layout import read_archive
from podbay.node.engine.pull_errors import pull_error
from podbay.node.engine.status import Memory, container_status, nanoseconds, sandbox_status, start_message
from podbay.node.engine.usage import is_same_machine, runtime_info, usage_of
from podbay.node.images.manifest import Platform
from podbay.node.observed import ContainerState, ImageConfig, LogLine, ResolvedUser
from podbay.node.specs import Capabilities, ContainerSpec, Limits, SandboxSpec, Security, User

HERE = Platform("linux", images.ARCHITECTURE)
SANDBOX = SandboxSpec(pod_uid="u-1", pod_name="web", pod_namespace="ns", hostname="web", labels={"a": "b"})


# Versions and addresses


@pytest.mark.parametrize(
    ("server", "minimum", "spoken"),
    [
        ("1.41", "1.12", (1, 41)),
        ("1.99", "1.44", (1, 51)),
        ("1.99", "1.60", (1, 60)),
        ("1.41", "", (1, 41)),
        ("", "", (1, 24)),
    ],
)
def test_the_version_is_agreed_on(server: str, minimum: str, spoken: tuple[int, int]) -> None:
    assert negotiated(server, minimum) == spoken


def test_messages_of_answers() -> None:
    assert Answer(500, b'{"message":"no"}').message == "no"
    assert Answer(500, b'{"cause":"c","message":"","response":500}').message == "c"
    assert Answer(502, b"bad gateway\n").message == "bad gateway"
    assert Answer(500, b"").message == "HTTP status 500"


def test_addresses() -> None:
    assert str(parse_endpoint("unix:///run/x.sock", origin="o")) == "unix:///run/x.sock"
    assert str(parse_endpoint("tcp://h:1234", origin="o")) == "tcp://h:1234"
    assert str(parse_endpoint("tcp://h", origin="o")) == "tcp://h:2375"
    assert parse_endpoint("https://h", origin="o").port == 2376
    for address in ("ssh://me@h", "npipe:////./pipe/docker_engine", "nonsense", "unix://", "tcp://h:port"):
        with pytest.raises(InvalidInputError, match="DOCKER_HOST"):
            parse_endpoint(address, origin="DOCKER_HOST")


# States


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1970-01-01T00:00:01Z", 1_000_000_000),
        ("1970-01-01T00:00:00.5Z", 500_000_000),
        ("1970-01-01T01:00:00.000000001+01:00", 1),
        ("1969-12-31T23:30:00-00:30", 0),
        ("0001-01-01T00:00:00Z", 0),
        ("", 0),
    ],
)
def test_times(text: str, value: int) -> None:
    assert nanoseconds(text) == value


def inspected(status: str, **state: Any) -> dict[str, Any]:
    spec = ContainerSpec(name="main", attempt=2, image="bb", image_id="sha256:1", labels={"k": "v"})
    return {
        "Id": "c" * 64,
        "Created": "2026-01-01T00:00:00Z",
        "Config": {
            "User": "7:8",
            "Labels": container_labels(sandbox_labels("n", SANDBOX), "s" * 64, spec),
        },
        "HostConfig": {"Memory": 1 << 20, "GroupAdd": ["9"]},
        "State": {
            "Status": status,
            "Running": status == "running",
            "StartedAt": "0001-01-01T00:00:00Z",
            **state,
        },
    }


RAN = {"StartedAt": "2026-01-01T00:00:01Z", "FinishedAt": "2026-01-01T00:00:02Z"}


def test_what_labels_tell() -> None:
    status = container_status(inspected("created"), Memory())
    assert (status.name, status.attempt, status.image, status.image_id) == ("main", 2, "bb", "sha256:1")
    assert (status.sandbox_id, dict(status.labels)) == ("s" * 64, {"k": "v"})
    assert status.user == ResolvedUser(7, 8, (8, 9))
    assert status.state is ContainerState.CREATED


@pytest.mark.parametrize(
    ("status", "state", "expected"),
    [
        ("running", RAN, (ContainerState.RUNNING, 0, False)),
        ("paused", RAN, (ContainerState.RUNNING, 0, False)),
        ("exited", {**RAN, "ExitCode": 3}, (ContainerState.EXITED, 3, False)),
        ("dead", {**RAN, "ExitCode": 3}, (ContainerState.EXITED, 3, False)),
        ("exited", {**RAN, "ExitCode": 137, "OOMKilled": True}, (ContainerState.EXITED, 137, True)),
        ("exited", {**RAN, "ExitCode": 137}, (ContainerState.EXITED, 137, False)),
        ("created", RAN, (ContainerState.UNKNOWN, 255, False)),
    ],
)
def test_states(status: str, state: dict[str, Any], expected: tuple[ContainerState, int, bool]) -> None:
    found = container_status(inspected(status, **state), Memory())
    assert (found.state, found.exit_code, found.oom_killed) == expected


def test_a_failed_start_is_an_end() -> None:
    docker = container_status(
        inspected("created", Error='exec: "x": not found: unknown', ExitCode=127), Memory()
    )
    assert (docker.state, docker.exit_code, docker.reason) == (ContainerState.EXITED, 128, "StartError")
    assert docker.message == 'exec: "x": not found'
    remembered = container_status(inspected("created"), Memory(start_error="words"))
    assert (remembered.state, remembered.message) == (ContainerState.EXITED, "words")


def test_engines_that_do_not_tell_of_memory() -> None:
    killed = inspected("exited", **RAN, ExitCode=137)
    assert container_status(killed, Memory(tells_oom=False)).oom_killed
    assert not container_status(killed, Memory(tells_oom=False, killed=True)).oom_killed
    killed["HostConfig"]["Memory"] = 0
    assert not container_status(killed, Memory(tells_oom=False)).oom_killed


@pytest.mark.parametrize(
    "words",
    [
        'runc create failed: exec: "x": no: unknown',
        'runc create failed: exec: "x": no: OCI runtime attempted to invoke a command that was not found',
        'runc create failed: exec: "x": no: OCI permission denied',
    ],
)
def test_words_of_a_failed_start(words: str) -> None:
    assert start_message(words) == 'runc create failed: exec: "x": no'


def test_sandboxes_and_their_addresses() -> None:
    found = inspected("running", **RAN)
    found["Config"]["Labels"] = sandbox_labels("n", SANDBOX)
    found["NetworkSettings"] = {"Networks": {"bridge": {"IPAddress": "10.1.2.3", "GlobalIPv6Address": ""}}}
    status = sandbox_status(found)
    assert (status.pod_uid, status.pod_name, status.ready, status.ips) == ("u-1", "web", True, ("10.1.2.3",))
    assert dict(status.labels) == {"a": "b"}
    assert not sandbox_status({**found, "State": {"Status": "exited"}}).ready


def test_labels_that_somebody_changed() -> None:
    assert own_labels({}) == {}
    assert own_labels({"podbay.dev/labels": "{"}) == {}
    assert own_labels({"podbay.dev/labels": "[1]"}) == {}


def test_names_tell_identities_apart() -> None:
    names = Names("node")
    other = SandboxSpec(pod_uid="u-1", pod_name="other", pod_namespace="x")
    assert names.sandbox(SANDBOX) == names.sandbox(other)
    assert names.sandbox(SANDBOX) != names.sandbox(
        SandboxSpec(pod_uid="u-1", attempt=1, pod_name="", pod_namespace="")
    )
    # What is unsafe in a name may not make two of them one.
    assert Names("a/b").keeper != Names("a-b").keeper
    for name in (Names("a/b c").keeper, names.volume("u/../v"), names.sandbox(SANDBOX)):
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")


# Logs


def frame(number: int, data: bytes) -> bytes:
    return struct.pack(">BxxxI", number, len(data)) + data


T1, T2 = b"2026-01-01T00:00:00.000000001Z ", b"2026-01-01T00:00:00.000000002Z "
BASE = nanoseconds("2026-01-01T00:00:00Z")


@pytest.mark.parametrize("step", [1, 3, 7, 1000])
def test_frames_in_any_pieces(step: int) -> None:
    data = frame(1, T1 + b"out\n") + frame(2, T2 + b"err\n") + frame(1, T2 + b"tail")
    frames = LogFrames(tty=False)
    found = [line for at in range(0, len(data), step) for line in frames.feed(data[at : at + step])]
    assert found + frames.finish() == [
        LogLine(BASE + 1, "stdout", False, b"out"),
        LogLine(BASE + 2, "stderr", False, b"err"),
        LogLine(BASE + 2, "stdout", True, b"tail"),
    ]


def test_a_newline_that_the_engine_drops() -> None:
    long = b"x" * 16384
    data = frame(1, T1 + long) + frame(1, T1 + b"end") + frame(1, T2 + b"next")
    kept = [line.partial for line in LogFrames(tty=False).feed(data)]
    mended = [line.partial for line in LogFrames(tty=False, drops_newlines=True).feed(data)]
    assert (kept, mended) == ([True, True, True], [True, False, True])


@pytest.mark.parametrize("step", [1, 5, 100_000])
def test_text_behind_a_terminal(step: int) -> None:
    long = b"y" * 16384
    data = T1 + b"one\r\n" + T1 + long + T2 + b"rest\r\n" + T2 + b"last"
    frames = LogFrames(tty=True)
    found = [line for at in range(0, len(data), step) for line in frames.feed(data[at : at + step])]
    assert found + frames.finish() == [
        LogLine(BASE + 1, "stdout", False, b"one\r"),
        LogLine(BASE + 1, "stdout", True, long),
        LogLine(BASE + 2, "stdout", False, b"rest\r"),
        LogLine(BASE + 2, "stdout", True, b"last"),
    ]


def test_whole_seconds_do_not_come_before_the_container() -> None:
    frames = LogFrames(tty=False, earliest=BASE + 7)
    assert frames.feed(frame(1, b"2026-01-01T00:00:00Z x\n"))[0].time_ns == BASE + 7


# Bodies

JOINED = SandboxFacts(
    id="s", hostname="web", host_network=False, host_pid=False, host_ipc=False, share_processes=False
)


def body(
    spec: ContainerSpec, facts: SandboxFacts = JOINED, *, podman: bool = False, image_user: str = ""
) -> Any:
    image = ImageConfig(user=image_user)
    return container_body(spec, facts, image, mounts=[], labels={}, podman=podman)


def spec(**values: Any) -> ContainerSpec:
    return ContainerSpec(name="c", image="i", image_id="sha256:1", **values)


def test_commands_replace_what_the_image_has() -> None:
    assert body(spec(command=["a"])) | {"Entrypoint": ["a"], "Cmd": []} == body(spec(command=["a"]))
    assert "Entrypoint" not in body(spec(args=["b"]))
    assert body(spec(args=["b"]))["Cmd"] == ["b"]
    assert "Cmd" not in body(spec())


def test_containers_join_their_sandbox() -> None:
    host = body(spec())["HostConfig"]
    assert (host["NetworkMode"], host["IpcMode"], host.get("PidMode")) == ("container:s", "container:s", None)
    assert "Hostname" not in body(spec())
    assert body(spec(), podman=True)["Hostname"] == "web"
    facts = SandboxFacts(
        id="s", hostname="h", host_network=True, host_pid=True, host_ipc=True, share_processes=True
    )
    host = body(spec(), facts, podman=True)["HostConfig"]
    assert (host["NetworkMode"], host["IpcMode"], host["PidMode"]) == ("host", "host", "host")
    assert "Hostname" not in body(spec(), facts, podman=True)


def test_limits_add_no_swap() -> None:
    host = body(spec(limits=Limits(memory=100, cpu_quota=5, cpu_shares=6, pids=7, oom_score_adj=-998)))[
        "HostConfig"
    ]
    wanted = {
        "Memory": 100,
        "MemorySwap": 100,
        "CpuQuota": 5,
        "CpuPeriod": 100000,
        "CpuShares": 6,
        "PidsLimit": 7,
    }
    assert wanted.items() <= host.items()
    assert host["OomScoreAdj"] == 0


def test_confinement() -> None:
    security = Security(
        capabilities=Capabilities(add=["NET_ADMIN", "SYS_ADMIN", "ALL"], drop=["ALL", "SYS_ADMIN"]),
        no_new_privileges=True,
        seccomp="unconfined",
        apparmor="mine",
    )
    host = body(spec(security=security))["HostConfig"]
    assert host["SecurityOpt"] == ["no-new-privileges", "seccomp=unconfined", "apparmor=mine"]
    assert (host["CapAdd"], host["CapDrop"]) == (["NET_ADMIN"], ["ALL", "SYS_ADMIN"])


@pytest.mark.parametrize(
    ("user", "image", "text"),
    [
        (User(), "", ""),
        (User(), "app:staff", "app:staff"),
        (User(uid=5), "app:staff", "5"),
        (User(uid=5, gid=6), "app", "5:6"),
        (User(gid=6), "app:staff", "app:6"),
        (User(gid=6), "", "0:6"),
        (User(name="x:y"), "app", "x:y"),
    ],
)
def test_users(user: User, image: str, text: str) -> None:
    assert user_text(user, image) == text


def test_the_sandbox_itself_has_no_rights() -> None:
    host = sandbox_body(SANDBOX, image="i", network="bridge", labels={})["HostConfig"]
    assert (host["CapDrop"], host["ReadonlyRootfs"], host["NetworkMode"]) == (["ALL"], True, "bridge")


# Images


@pytest.mark.parametrize(
    ("words", "reason", "cause"),
    [
        ("toomanyrequests: You have reached your pull rate limit", "ErrImagePull", "rate limited"),
        ('Get "https://r/v2/": x509: certificate signed by unknown authority', "ErrImagePull", "certificate"),
        (
            'Get "https://r/v2/": http: server gave HTTP response to HTTPS client',
            "ErrImagePull",
            "not speak HTTPS",
        ),
        ("no matching manifest for linux/amd64 in the manifest list entries", "ErrImagePull", "architecture"),
        ("no image found in manifest list for architecture amd64", "ErrImagePull", "architecture"),
        (
            "pull access denied for x, repository does not exist or may require 'docker login'",
            "ErrImagePull",
            "no such image, or access denied",
        ),
        ("manifest for r/x:2 not found: manifest unknown: manifest unknown", "ErrImagePull", "no such tag"),
        (
            "reading manifest 2 in r/x: name unknown: repository name not known",
            "ErrImagePull",
            "no such image",
        ),
        ("unauthorized: authentication required", "ErrImagePull", "access denied"),
        ('Get "http://r/v2/": no basic auth credentials', "ErrImagePull", "access denied"),
        ("dial tcp 127.0.0.1:1: connect: connection refused", "RegistryUnavailable", "cannot be reached"),
        ("dial tcp: lookup r.invalid: no such host", "RegistryUnavailable", "cannot be reached"),
        (
            "received unexpected HTTP status: 503 Service Unavailable",
            "RegistryUnavailable",
            "cannot be reached",
        ),
        ("something new", "ErrImagePull", "something new"),
    ],
)
def test_reasons_of_failed_pulls(words: str, reason: str, cause: str) -> None:
    error = pull_error("r/x:2", words)
    assert error.reason == reason
    assert cause in str(error)
    assert words in str(error)


def test_digests_are_no_statuses() -> None:
    assert pull_error("r/x", "blob sha256:4013503e not verified").reason == "ErrImagePull"


def oci_layout(path: Path, name: str, *, compress: bool = False) -> Path:
    manifest, blobs = build([Layer().add("f", "x")]).manifest()
    digest = images.digest(manifest)
    descriptor = {
        **images.descriptor(manifest, "application/vnd.oci.image.manifest.v1+json"),
        "annotations": {"org.opencontainers.image.ref.name": name},
    }
    content = {
        f"blobs/sha256/{key.partition(':')[2]}": data for key, data in {**blobs, digest: manifest}.items()
    }
    content["oci-layout"] = b'{"imageLayoutVersion":"1.0.0"}'
    content["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [descriptor]}).encode()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for key, data in content.items():
            info = tarfile.TarInfo(key)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    path.write_bytes(gzip.compress(buffer.getvalue()) if compress else buffer.getvalue())
    return path


@pytest.mark.parametrize("compress", [False, True])
def test_an_oci_layout_gets_what_older_engines_read(tmp_path: Path, compress: bool) -> None:
    archive = read_archive(oci_layout(tmp_path / "a.tar", "localhost/x:1", compress=compress), HERE)
    assert [tags for _, tags in archive.images] == [["localhost/x:1"]]
    with tarfile.open(fileobj=io.BytesIO(b"".join(archive.chunks()))) as tar:
        names = tar.getnames()
        assert names.count("manifest.json") == 1
        file = tar.extractfile("manifest.json")
        assert file is not None
        [entry] = json.load(file)
        assert {entry["Config"], *entry["Layers"]} <= set(names)


def test_the_keepers_image_is_the_same_every_time() -> None:
    for architecture in ("amd64", "arm64"):
        assert keeper_archive(architecture) == keeper_archive(architecture)
    assert keeper_archive("amd64")[0] != keeper_archive("arm64")[0]
    with pytest.raises(RuntimeUnavailableError, match="riscv64"):
        keeper_archive("riscv64")


# What an engine tells of itself

VERSION = {"Version": "20.10.24", "Os": "linux", "Arch": "amd64"}
INFO = {
    "MemoryLimit": True,
    "CpuCfsQuota": True,
    "PidsLimit": True,
    "CgroupVersion": "1",
    "SecurityOptions": ["name=seccomp,profile=default"],
    "Name": "box",
    "KernelVersion": "6.1",
    "OperatingSystem": "Debian",
}


def test_an_engine_that_can_everything() -> None:
    info = runtime_info(VERSION, INFO, podman=False, network="bridge", same_machine=True, is_root=True)
    assert (info.name, info.architecture, info.features.notes) == ("docker", "amd64", ())
    assert info.features.pod_ip_from_host
    assert info.features.memory_limit


def test_what_does_not_work_is_said() -> None:
    rootless = {**INFO, "SecurityOptions": ["name=rootless"]}
    info = runtime_info(VERSION, rootless, podman=True, network="none", same_machine=False, is_root=True)
    features = info.features
    assert not (features.memory_limit or features.pod_network or features.host_paths or features.seccomp)
    assert len(features.notes) == 6
    # Nothing is False without a sentence, nothing is said of what works.
    desktop = runtime_info(VERSION, INFO, podman=False, network="bridge", same_machine=False, is_root=True)
    assert ["port-forward" in note for note in desktop.features.notes].count(True) == 1
    theirs = runtime_info(VERSION, INFO, podman=False, network="bridge", same_machine=True, is_root=False)
    assert not theirs.features.api_from_pods
    assert ["cannot reach the API server" in note for note in theirs.features.notes] == [True]


def test_the_same_machine() -> None:
    endpoint = parse_endpoint("unix:///x", origin="o")
    assert is_same_machine(endpoint, INFO, hostname="box", kernel="6.1")
    assert not is_same_machine(endpoint, INFO, hostname="other", kernel="6.1")
    assert not is_same_machine(
        endpoint, {**INFO, "OperatingSystem": "Docker Desktop"}, hostname="box", kernel="6.1"
    )
    assert not is_same_machine(parse_endpoint("tcp://box:1", origin="o"), INFO, hostname="box", kernel="6.1")


def test_usage_without_the_cache() -> None:
    stats = {
        "cpu_stats": {"cpu_usage": {"total_usage": 5}},
        "memory_stats": {"usage": 100, "stats": {"total_inactive_file": 30}},
        "pids_stats": {"current": 2},
    }
    usage = usage_of("c", stats, rootfs_bytes=1)
    assert (usage.cpu_ns, usage.memory_bytes, usage.memory_working_set_bytes, usage.pids) == (5, 100, 70, 2)
    assert usage_of("c", {}).memory_working_set_bytes is None
