"""A Kubernetes cluster in one process: API server, controllers, scheduler and nodes, opened and closed together.

    async with EmbeddedCluster() as cluster:
        print(cluster.url, cluster.kubeconfig())

Without a home it keeps nothing: state in memory, certificates in a temporary directory.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import secrets
import socket
import ssl
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from types import TracebackType

from podbay.aio.clock import Clock, SystemClock
from podbay.aio.informer import InformerSet
from podbay.aio.tasks import TaskGroup
from podbay.apiserver.request import User
from podbay.apiserver.server import ApiServer, ServerOptions, serve
from podbay.apiserver.token_webhook import TokenWebhook
from podbay.embedded.bootstrap import bootstrap
from podbay.embedded.controllers import ControllerOptions, LocalStorage, run_controllers, served_resources
from podbay.embedded.home import ClusterHome
from podbay.embedded.images import image_extension
from podbay.embedded.kubeconfig import render_kubeconfig, write_kubeconfig
from podbay.embedded.node_faults import NodeFaults
from podbay.embedded.nodes import ContainerHost, NodeFactory, NodeHost, default_nodes
from podbay.embedded.pki import Pki
from podbay.embedded.private_files import write_private
from podbay.embedded.scheduler import SchedulerOptions, start_scheduler
from podbay.embedded.severed import SeverableApi
from podbay.embedded.token_webhook import read_token_webhook
from podbay.errors import ApiError, ClosedError, InvalidInputError, StateError
from podbay.objects.api import ClusterApi
from podbay.objects.resource import GVR

__all__ = ["ClusterOptions", "EmbeddedCluster"]

READY_SECONDS = 30.0
"""How long nodes and the default service account may take to appear."""
_NODES = GVR("", "v1", "nodes")
_SERVICE_ACCOUNTS = GVR("", "v1", "serviceaccounts")
_SYSTEM = User("system:podbay", groups=("system:masters", "system:authenticated"))
ADMIN = User("kubernetes-admin", groups=("system:masters", "system:authenticated"))


@dataclass(frozen=True, kw_only=True)
class ClusterOptions:
    """What a cluster is made of. port 0 takes the last port of this home when it is free, else any.

    nodes are made at start by calling each factory; an empty tuple is a cluster without nodes. token_webhook is the file
    that names a server for tokens of others (token_webhook.py), whose answers count for token_webhook_seconds.
    """

    home: ClusterHome | None = None
    name: str = "podbay"
    host: str = "127.0.0.1"
    port: int = 0
    nodes: Sequence[NodeFactory] = field(default_factory=default_nodes)
    token_webhook: Path | None = None
    token_webhook_seconds: float = 120.0
    clock: Clock = field(default_factory=SystemClock)

    def __post_init__(self) -> None:
        if not _is_loopback(self.host):
            raise InvalidInputError(
                f"--host {self.host}: an embedded cluster listens on this machine only. "
                "Give a loopback address such as 127.0.0.1; for access from elsewhere use a tunnel or a real cluster."
            )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class EmbeddedCluster:
    """One cluster. Use it with `async with`; it is ready inside the block."""

    def __init__(self, options: ClusterOptions | None = None) -> None:
        self.options = options or ClusterOptions()
        self.home = self.options.home
        self.name = self.home.name if self.home is not None else self.options.name
        self.started: datetime = self.options.clock.now()
        self._stack: AsyncExitStack | None = None
        self._server: ApiServer | None = None
        self._pki: Pki | None = None
        self._token = ""

    @property
    def server(self) -> ApiServer:
        """The API server. Raises ClosedError outside the block."""
        if self._server is None:
            raise ClosedError(f"cluster {self.name!r} is not running: use it inside its `async with` block")
        return self._server

    @property
    def url(self) -> str:
        return self.server.url

    def kubeconfig(self) -> str:
        """An admin kubeconfig as YAML text. Holds a private key."""
        assert self._pki is not None
        return render_kubeconfig(self.name, self.url, self._pki)

    @property
    def token(self) -> str:
        """An administrator's bearer token, for clients that cannot show a certificate. A secret."""
        return self._token

    def api(self, user: User = ADMIN, *, agent: str = "podbay") -> ClusterApi:
        """The API without a socket, as an administrator unless told otherwise."""
        return self.server.api(user, agent=agent)

    async def wait_until(self, event: asyncio.Event) -> None:
        """Wait for event; raise what a part of the cluster died of, should one die first."""
        await event.wait()

    async def __aenter__(self) -> EmbeddedCluster:
        async with AsyncExitStack() as stack:
            await self._open(stack)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        stack, self._stack, self._server = self._stack, None, None
        if stack is not None:
            await stack.__aexit__(exc_type, exc, traceback)

    async def _open(self, stack: AsyncExitStack) -> None:
        options = self.options
        directory = self._directory(stack)
        self._pki = pki = Pki.load_or_create(directory / "pki", clock=options.clock, hosts=(options.host,))
        self._token = _admin_token(directory / "token")
        server = await stack.enter_async_context(serve(self._server_options(pki)))
        self._server = server
        api = server.api()
        await bootstrap(api, server.core.registry, port=server.port)
        group = await stack.enter_async_context(TaskGroup(f"cluster/{self.name}"))
        storage = LocalStorage(str(directory / "volumes"))
        await self._start_control_plane(server, group, pki, storage)
        hosts = [make() for make in options.nodes]
        faults = NodeFaults(api, options.clock, server.core.nodes)
        server.extensions += [image_extension(hosts), faults.extension()]
        for host in hosts:
            if isinstance(host, ContainerHost):
                host.reach_server(server.host, server.port)
            link = SeverableApi(server.api(agent="kubelet"))
            faults.add(host, link)
            server.core.nodes.update(host.streams)
            group.start("nodes/" + ",".join(host.streams), host.run(link, options.clock))
        await self._wait_ready(api, hosts)
        server.ready = True
        if self.home is not None:
            self.home.remember_port(server.port)
            write_kubeconfig(self.home.kubeconfig, self.kubeconfig())

    async def _start_control_plane(
        self, server: ApiServer, group: TaskGroup, pki: Pki, storage: LocalStorage
    ) -> None:
        clock = self.options.clock
        # One set of watched copies serves controllers and scheduler.
        informers = InformerSet(server.api(agent="podbay"), group, clock)
        manager = server.api(_SYSTEM, agent="kube-controller-manager")
        served = served_resources(server.core.registry)
        options = ControllerOptions(served=served, root_ca=pki.ca_pem, provisioner=storage)
        controllers = run_controllers(manager, group, clock, options, informers=informers)
        scheduler = start_scheduler(
            server.api(_SYSTEM, agent="kube-scheduler"),
            group,
            clock,
            options=SchedulerOptions(volumes=True),
            informers=informers,
        )
        await controllers.wait_ready()
        await scheduler.wait_ready()

    def _directory(self, stack: AsyncExitStack) -> Path:
        if self.home is None:
            return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="podbay-")))
        stack.enter_context(contextlib.closing(self.home.lock()))
        return self.home.directory

    def _server_options(self, pki: Pki) -> ServerOptions:
        webhook: TokenWebhook | None = None
        if self.options.token_webhook is not None:
            found = read_token_webhook(self.options.token_webhook)
            webhook = replace(found, remember_seconds=self.options.token_webhook_seconds)
        return ServerOptions(
            state=self.home.state if self.home is not None else None,
            host=self.options.host,
            port=self.options.port or self._last_port(),
            tls=_tls(pki),
            signing_key=pki.signing_key,
            verification_keys=pki.verification_keys,
            static_tokens={self._token: ADMIN},
            token_webhook=webhook,
            clock=self.options.clock,
        )

    def _last_port(self) -> int:
        """The port of this home's last run when nobody has taken it meanwhile, else 0 (any)."""
        port = self.home.last_port if self.home is not None else 0
        if port:
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((self.options.host, port))
                except OSError:
                    return 0
        return port

    async def _wait_ready(self, api: ClusterApi, hosts: Sequence[NodeHost]) -> None:
        deadline = self.options.clock.monotonic() + READY_SECONDS
        while not await self._is_ready(api, hosts):
            if self.options.clock.monotonic() > deadline:
                raise StateError(
                    f"cluster {self.name!r} did not become ready within {READY_SECONDS:.0f} s; "
                    "its log says which part is missing"
                )
            await asyncio.sleep(0.005)

    async def _is_ready(self, api: ClusterApi, hosts: Sequence[NodeHost]) -> bool:
        # After a restart the API still shows the nodes as they were.
        if any(isinstance(host, ContainerHost) and not host.started for host in hosts):
            return False
        try:
            await api.get(_SERVICE_ACCOUNTS, "default", namespace="default")
            found = [await api.get(_NODES, name) for host in hosts for name in host.streams]
        except ApiError:
            return False
        return all(_node_is_ready(node) for node in found)


def _admin_token(path: Path) -> str:
    """The token of this home, made on first use."""
    try:
        return path.read_text()
    except FileNotFoundError:
        token = secrets.token_hex(32)
        write_private(path, token.encode())
        return token


def _node_is_ready(node: dict[str, object]) -> bool:
    status = node.get("status")
    conditions = status.get("conditions", []) if isinstance(status, dict) else []
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _tls(pki: Pki) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(pki.serving_cert, pki.serving_key)
    context.load_verify_locations(pki.ca_cert)
    # A client may show a certificate and need not: bearer tokens are the other way in.
    context.verify_mode = ssl.CERT_OPTIONAL
    return context
