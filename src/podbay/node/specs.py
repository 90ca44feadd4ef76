"""What the node agent asks of a container runtime: images, sandboxes, volumes and containers as plain values.

Everything Kubernetes-specific (env expansion, secrets, probes, restart rules, defaults) is decided before: these are
the final values. What a runtime tells of itself and of what runs is in observed.py. The shapes follow the kubelet's
Container Runtime Interface (k8s.io/cri-api/pkg/apis/runtime/v1/api.proto), less what no engine but CRI has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

__all__ = [
    "Capabilities",
    "ContainerSpec",
    "Device",
    "Dns",
    "ExecSpec",
    "HostAlias",
    "HostPath",
    "ImageSource",
    "Limits",
    "LogQuery",
    "Mount",
    "MountSource",
    "RegistryAuth",
    "SandboxSpec",
    "Security",
    "Tmpfs",
    "User",
    "VolumeFile",
    "VolumeSource",
    "VolumeSpec",
]


@dataclass(frozen=True, slots=True)
class RegistryAuth:
    """Credentials for one pull. identity_token is an OAuth2 refresh token and replaces the password."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)
    """A bearer token sent to the registry as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a cgroup enforces; None means not set. A runtime without cgroups ignores them and says so in its features."""

    memory: int | None = None
    """Bytes; swap is not added on top."""
    cpu_shares: int | None = None
    """Relative weight as cgroup v1 counts it: 1024 per core, at least 2."""
    cpu_quota: int | None = None
    """Microseconds of CPU time per cpu_period; at least 1000."""
    cpu_period: int = 100_000
    """Microseconds; the kubelet's default."""
    pids: int | None = None
    oom_score_adj: int | None = None
    """-1000…1000; raised to what the kernel lets us set where lowering needs CAP_SYS_RESOURCE."""


@dataclass(frozen=True, slots=True)
class HostAlias:
    """One line of /etc/hosts."""

    ip: str
    hostnames: Sequence[str]


@dataclass(frozen=True, slots=True)
class Dns:
    """The pod's /etc/resolv.conf. All empty: the node's own file is used."""

    servers: Sequence[str] = ()
    searches: Sequence[str] = ()
    options: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSpec:
    """What the containers of one pod share: network, hostname, resolver, and on request processes.

    A sandbox is known by (pod_uid, attempt); attempt grows when a lost sandbox is made anew.
    """

    pod_uid: str
    pod_name: str
    pod_namespace: str
    attempt: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    """Kept with the sandbox and given back by `list`."""
    hostname: str = ""
    """At most 63 characters; empty with host_network means the node's own."""
    domain: str = ""
    """Fully qualified suffix for the pod's own /etc/hosts line ("sub.ns.svc.cluster.local")."""
    dns: Dns = Dns()
    host_aliases: Sequence[HostAlias] = ()
    host_network: bool = False
    host_pid: bool = False
    host_ipc: bool = False
    share_processes: bool = False
    """One process namespace for all containers, whose first process is the sandbox's own."""
    sysctls: Mapping[str, str] = field(default_factory=dict)
    limits: Limits = Limits()
    """For the pod as a whole: the sum over its containers, memory-backed volumes included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeSpec:
    """A directory that outlives containers: emptyDir, or the files of secrets, config maps and projections.

    The name is the caller's and unique on the node ("<pod uid>/<volume name>" with "/" allowed once).
    """

    name: str
    memory: bool = False
    """Held in memory (tmpfs) and gone with the machine."""
    size_limit: int | None = None
    """Bytes; enforced by the kernel where memory is true, else only reported by `volume_usage`."""
    mode: int = 0o777
    group: int | None = None
    """The pod's fsGroup: owner of the directory and of all files written to it, with the set-group-id bit."""


@dataclass(frozen=True, slots=True)
class VolumeFile:
    """One file given to `write_volume`. mode holds the permission bits; uid/gid None mean root, or the volume's group."""

    data: bytes = field(repr=False)
    mode: int = 0o644
    uid: int | None = None
    gid: int | None = None


@dataclass(frozen=True, slots=True)
class VolumeSource:
    """A volume made by `create_volume`."""

    name: str


@dataclass(frozen=True, slots=True)
class HostPath:
    """A path of the machine the runtime works on. It must exist; checks and creation are the caller's."""

    path: str


@dataclass(frozen=True, slots=True)
class Tmpfs:
    """Memory of this container alone. size in bytes; None: the kernel's default of half the memory."""

    size: int | None = None
    mode: int = 0o1777


@dataclass(frozen=True, slots=True)
class ImageSource:
    """The unpacked files of an image that is present; always read-only."""

    image_id: str


MountSource: TypeAlias = VolumeSource | HostPath | Tmpfs | ImageSource


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One place in a container's file tree. target is absolute; missing directories on the way are made."""

    source: MountSource
    target: str
    sub_path: str = ""
    """A path inside the source; made as a directory if missing; may not lead out of it, symlinks included."""
    read_only: bool = False
    recursive_read_only: bool = False
    propagation: Literal["private", "host_to_container", "bidirectional"] = "private"


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Whom to run as. What is None comes from the image's USER, then from its /etc/passwd, then is 0."""

    uid: int | None = None
    gid: int | None = None
    name: str = ""
    """The image's USER ("app", "app:staff", "1000:2000") when uid is None."""
    groups: Sequence[int] = ()
    """Supplementary groups (the pod's supplementalGroups and fsGroup)."""
    merge_image_groups: bool = True
    """Also those that the image's /etc/group gives the user (supplementalGroupsPolicy: Merge)."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Changes to the default set, names without CAP_ ("NET_ADMIN", "ALL")."""

    add: Sequence[str] = ()
    drop: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Security:
    """The container's confinement. The defaults are Docker's."""

    privileged: bool = False
    capabilities: Capabilities = Capabilities()
    read_only_root: bool = False
    no_new_privileges: bool = False
    seccomp: Literal["default", "unconfined"] | Mapping[str, Any] = "default"
    """A mapping is a profile in Docker's JSON form (a Localhost profile, already read)."""
    apparmor: str = ""
    """A loaded profile's name; empty: the runtime's default where the machine has AppArmor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A device of the machine. permissions as in cgroup v1: some of "rwm"."""

    path: str
    target: str = ""
    permissions: str = "rwm"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSpec:
    """One container, known in its sandbox by (name, attempt); attempt is the restart count."""

    name: str
    attempt: int = 0
    image: str
    """As the pod names it; only kept and given back."""
    image_id: str
    """The `Image.id` to run; it must be present."""
    command: Sequence[str] = ()
    """Replaces the image's entrypoint, and its arguments too."""
    args: Sequence[str] = ()
    """Replaces the image's CMD."""
    env: Sequence[tuple[str, str]] = ()
    """Later entries win; the image's own come before all of them."""
    working_dir: str = ""
    """Made if missing; empty: the image's, else "/"."""
    user: User = User()
    mounts: Sequence[Mount] = ()
    devices: Sequence[Device] = ()
    limits: Limits = Limits()
    security: Security = Security()
    stdin: bool = False
    stdin_once: bool = False
    """End of file for the process once the first attached client has gone."""
    tty: bool = False
    message_path: str = ""
    """Where the process may leave its termination message; an empty, writable file is put there."""
    stop_signal: str = ""
    """Such as "SIGUSR1"; empty: the image's STOPSIGNAL, else SIGTERM."""
    processes_of: str = ""
    """The id of a running container of the same sandbox whose processes it joins; empty: it has its own, or the
    sandbox's when those are shared."""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecSpec:
    """A command to run inside a container, as the container's own user and environment."""

    command: Sequence[str]
    stdin: bool = False
    stdout: bool = True
    stderr: bool = True
    tty: bool = False
    """One stream for output and errors, behind a terminal; stderr is then ignored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogQuery:
    """Which part of a container's log. since_ns is inclusive, in nanoseconds since the epoch."""

    follow: bool = False
    since_ns: int = 0
    tail_lines: int | None = None
    """The last n lines, counted after since_ns; None: all."""
