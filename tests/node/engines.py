"""Container engines for the suite: dockerd and Podman's service, started by hand on private directories and sockets.

They are started on first use and ended with the test process. The engine of the machine, if it has one, is not touched.
"""

from __future__ import annotations

import atexit
import hashlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from podbay.node.engine.endpoint import Endpoint
from podbay.node.engine.runtime import EngineRuntime
from podbay.node.runtime import Runtime

NODE = "suite"
_START_SECONDS = 120.0
_PODMAN_CONF = """
[containers]
default_ulimits=["nofile=1024:1024","nproc=1000:1000"]
[engine]
runtime="runc"
cgroup_manager="cgroupfs"
events_logger="file"
exit_command_delay=20
[network]
network_config_dir="{base}/net"
"""


def _podman_network(base: Path) -> str:
    """A network of its own: the default one would meet the machine's Podman and other users of 10.88.0.0/16."""
    number = int(hashlib.sha256(str(base).encode()).hexdigest()[:8], 16)
    subnet = f"10.{200 + number % 40}.{number // 40 % 250}"
    address = {
        "type": "host-local",
        "dataDir": f"{base}/addresses",
        "routes": [{"dst": "0.0.0.0/0"}],
        "ranges": [[{"subnet": f"{subnet}.0/24", "gateway": f"{subnet}.1"}]],
    }
    bridge = {
        "type": "bridge",
        "bridge": _bridge(base),
        "isGateway": True,
        "ipMasq": False,
        "ipam": address,
    }
    return json.dumps({"cniVersion": "0.4.0", "name": "podman", "plugins": [bridge, {"type": "firewall"}]})


def _bridge(base: Path) -> str:
    return f"pbt{hashlib.sha256(str(base).encode()).hexdigest()[:10]}"


@dataclass
class Daemon:
    """One engine's process."""

    name: str
    programs: Sequence[str]
    arguments: Callable[[Path], Sequence[str]]
    environment: Callable[[Path], dict[str, str]] = lambda base: {}
    inherited: bool = True
    """Shared with the processes that the test process starts."""
    process: subprocess.Popen[bytes] | None = None
    directory: Path | None = field(default=None)

    def available(self) -> bool:
        return os.geteuid() == 0 and all(shutil.which(program) for program in self.programs)

    @property
    def _variable(self) -> str:
        return f"PODBAY_TEST_{self.name.upper()}"

    @property
    def socket(self) -> Path:
        assert self.directory is not None
        return self.directory / "engine.sock"

    def start(self) -> None:
        """Return when it answers; call it in the main thread. A child of the test process uses its parent's."""
        if self.process is not None and self.process.poll() is None:
            return
        inherited = os.environ.get(self._variable) if self.inherited else None
        if self.directory is None and inherited is not None:
            self.directory = Path(inherited)
        if inherited is not None and self.process is None and self._answers():
            return
        if self.directory is None:
            # Below /tmp and short: the path of a Unix socket has at most 107 characters.
            self.directory = Path(tempfile.mkdtemp(prefix=f"podbay-{self.name}-", dir="/tmp"))
            self.directory.chmod(0o711)
            if self.inherited:
                os.environ[self._variable] = str(self.directory)
            atexit.register(self._end)
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                # Ended with the test process, however that ends.
                ["setpriv", "--pdeathsig", "TERM", *self.arguments(self.directory)],
                env={**os.environ, **self.environment(self.directory)},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise RuntimeError((self.directory / "log").read_text()[-2000:])
            time.sleep(0.05)

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(60)
            self.process = None

    def get(self, path: str) -> object:
        """An answer of the engine's, past the runtime under test."""
        return json.loads(self.call("GET", path))

    def call(self, method: str, path: str) -> bytes:
        """What a person does with a command line."""
        connection = _Connection(self.socket)
        try:
            connection.request(method, path)
            return connection.getresponse().read()
        finally:
            connection.close()

    def _answers(self) -> bool:
        try:
            self.get("/version")
        except (OSError, http.client.HTTPException, json.JSONDecodeError):
            return False
        return True

    def _end(self) -> None:
        assert self.directory is not None
        if self.process is not None and self.process.poll() is None:
            # Podman's containers would outlive it.
            for one in json.loads(self.call("GET", "/containers/json?all=1")):
                self.call("DELETE", f"/containers/{one['Id']}?force=1")
        self.stop()
        self._end_helpers()
        for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
            if line.split()[4].startswith(f"{self.directory}/"):
                subprocess.run(["umount", "-l", line.split()[4]], check=False)
        shutil.rmtree(self.directory, ignore_errors=True)
        subprocess.run(["ip", "link", "delete", _bridge(self.directory)], check=False, capture_output=True)

    def _end_helpers(self) -> None:
        """What engines leave beside containers; Podman's would make the directory anew when their time has come."""
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if f"{self.directory}/".encode() in (process / "cmdline").read_bytes():
                    os.kill(int(process.name), signal.SIGKILL)
            except OSError:
                continue

    @asynccontextmanager
    async def open(self, base: Path) -> AsyncIterator[Runtime]:
        """The runtime under test on this engine; base is not used, as it keeps no files."""
        self.start()
        endpoint = Endpoint(origin="the test", path=str(self.socket))
        async with EngineRuntime(endpoint, node=NODE) as runtime:
            yield runtime

    def left(self, base: Path) -> set[str]:
        """Containers and volumes of ours."""
        self.start()
        chosen = quote(json.dumps({"label": [f"podbay.dev/node={NODE}"]}))
        containers = self.get(f"/containers/json?all=1&filters={chosen}")
        volumes = self.get(f"/volumes?filters={chosen}")
        assert isinstance(containers, list)
        assert isinstance(volumes, dict)
        found = {f"container {one['Names'][0]}" for one in containers}
        return found | {f"volume {one['Name']}" for one in volumes.get("Volumes") or ()}


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("engine", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def _dockerd(base: Path) -> Sequence[str]:
    # Without a bridge it leaves the machine's interfaces and firewall alone; pods have only their loopback then.
    return [
        "dockerd",
        f"--host=unix://{base}/engine.sock",
        f"--data-root={base}/data",
        f"--exec-root={base}/exec",
        f"--pidfile={base}/pid",
        "--bridge=none",
        "--iptables=false",
    ]


def _podman(base: Path) -> Sequence[str]:
    roots = [
        f"--root={base}/data",
        f"--runroot={base}/run",
        f"--tmpdir={base}/tmp",
        "--storage-driver=overlay",
    ]
    return ["podman", *roots, "system", "service", "--time=0", f"unix://{base}/engine.sock"]


def _podman_environment(base: Path) -> dict[str, str]:
    (base / "containers.conf").write_text(_PODMAN_CONF.format(base=base))
    (base / "net").mkdir(exist_ok=True)
    (base / "net" / "podman.conflist").write_text(_podman_network(base))
    (base / "registries.conf").write_text(
        'unqualified-search-registries=["docker.io"]\n[[registry]]\nlocation="127.0.0.1"\ninsecure=true\n'
    )
    return {
        "CONTAINERS_CONF": f"{base}/containers.conf",
        "CONTAINERS_REGISTRIES_CONF": f"{base}/registries.conf",
    }


def _has_all_capabilities() -> bool:
    status = Path("/proc/self/status").read_text()
    bounding = int(next(line for line in status.splitlines() if line.startswith("CapBnd")).split()[1], 16)
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    return bounding == (1 << last + 1) - 1


PODMAN_DEVIATIONS = {
    "test_leaving_an_attach_leaves_the_container": "Podman closes a container's input when an attached client leaves",
    "test_system_calls_are_filtered": "Podman's own profile lets everybody make user namespaces",
}
"""Tests of the suite that an engine cannot pass, and why."""
DOCKER_DEVIATIONS = (
    {}
    if _has_all_capabilities()
    else {
        "test_capabilities": "Docker before 23 gives privileged containers rights that this machine does not have"
    }
)


def mortal_docker() -> Daemon:
    """dockerd whose containers outlive it."""
    return Daemon(
        "mortal-docker", DOCKER.programs, lambda base: [*_dockerd(base), "--live-restore"], inherited=False
    )


def mortal_podman() -> Daemon:
    """Podman's service; Podman's containers always outlive it."""
    return Daemon("mortal-podman", PODMAN.programs, _podman, _podman_environment, inherited=False)


DOCKER = Daemon("docker", ("dockerd", "containerd", "runc"), _dockerd)
PODMAN = Daemon("podman", ("podman", "conmon", "runc"), _podman, _podman_environment)
