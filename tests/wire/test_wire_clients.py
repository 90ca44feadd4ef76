"""The Python clients people have: the official one and kubernetes_asyncio. And who may do what."""

from __future__ import annotations

import asyncio
import functools
import gc
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import aiohttp
import kubernetes
import kubernetes.stream
import kubernetes_asyncio
import pytest
from kubernetes_asyncio.stream import WsApiClient
from patience import PATIENCE
from test_wire_websocket import V4, V5, execute
from wire_cluster import Wire
from wire_node import shell

from podbay.objects.resource import GVR

pytestmark = pytest.mark.asyncio(loop_scope="package")

RBAC = "rbac.authorization.k8s.io"


@pytest.fixture(autouse=True)
def forgetful_clients() -> Iterator[None]:
    """The official client leaves its sockets to the garbage collector; let it come by before the next test."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield
        gc.collect()


async def in_thread(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    async with asyncio.timeout(PATIENCE):
        return await asyncio.to_thread(functools.partial(function, *arguments, **named))


def official(wire: Wire) -> kubernetes.client.CoreV1Api:
    return kubernetes.client.CoreV1Api(kubernetes.config.new_client_from_config(str(wire.kubeconfig)))


async def test_official_client_reads_everything(wire: Wire) -> None:
    def run() -> str:
        api = official(wire)
        return kubernetes.stream.stream(
            api.connect_get_namespaced_pod_exec,
            "p",
            "default",
            command=["sh", "-c", "echo out; echo err >&2"],
            stdout=True,
            stderr=True,
            stdin=False,
            tty=False,
        )

    assert sorted((await in_thread(run)).split()) == ["err", "out"]


async def test_official_client_talks_and_learns_the_exit_code(wire: Wire) -> None:
    def run() -> tuple[str, int]:
        api = official(wire)
        session = kubernetes.stream.stream(
            api.connect_get_namespaced_pod_exec,
            "p",
            "default",
            command=list(shell("read line; echo got $line; exit 6")),
            stdout=True,
            stderr=True,
            stdin=True,
            tty=False,
            _preload_content=False,
        )
        session.write_stdin("text\n")
        line = session.readline_stdout(timeout=10)
        session.run_forever(timeout=10)
        code = session.returncode
        session.close()
        return line, code

    assert await in_thread(run) == ("got text", 6)


async def test_official_client_closes_stdin(wire: Wire) -> None:
    def run() -> str:
        session = kubernetes.stream.stream(
            official(wire).connect_get_namespaced_pod_exec,
            "p",
            "default",
            command=list(shell("wc -c")),
            stdout=True,
            stderr=True,
            stdin=True,
            tty=False,
            _preload_content=False,
        )
        session.write_stdin("12345")
        session.close_channel(0)
        session.run_forever(timeout=10)
        return str(session.read_stdout())

    assert (await in_thread(run)).strip() == "5"


async def test_official_client_forwards_ports(wire: Wire) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello " + await reader.readline())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    def run() -> tuple[bytes, Any]:
        forward = kubernetes.stream.portforward(
            official(wire).connect_get_namespaced_pod_portforward, "p", "default", ports=str(port)
        )
        connection = forward.socket(port)
        connection.setblocking(True)
        connection.sendall(b"you\n")
        answer = b""
        while data := connection.recv(1024):
            answer += data
        connection.close()
        return answer, forward.error(port)

    async with server:
        assert await in_thread(run) == (b"hello you\n", None)


async def test_official_client_reads_and_follows_logs(wire: Wire) -> None:
    wire.node.write_log(b"one\n")
    wire.node.write_log(b"two\n")

    def run() -> tuple[str, list[bytes]]:
        api = official(wire)
        text = api.read_namespaced_pod_log("p", "default", tail_lines=1)
        following = api.read_namespaced_pod_log("p", "default", follow=True, _preload_content=False)
        lines = [next(following), next(following)]
        following.close()
        return text, lines

    assert await in_thread(run) == ("two\n", [b"one\n", b"two\n"])
    await wire.node.wait_closed()


async def test_kubernetes_asyncio_executes(wire: Wire) -> None:
    configuration = kubernetes_asyncio.client.Configuration()
    await kubernetes_asyncio.config.load_kube_config(str(wire.kubeconfig), client_configuration=configuration)
    async with WsApiClient(configuration) as client:
        api = kubernetes_asyncio.client.CoreV1Api(client)
        named = {"stdout": True, "stderr": True, "stdin": False, "tty": False}
        command = list(shell("echo out"))
        answer = await api.connect_get_namespaced_pod_exec("p", "default", command=command, **named)
        assert answer == "out\n"
        opening = await api.connect_get_namespaced_pod_exec(
            "p", "default", command=list(shell("exit 8")), **named, _preload_content=False
        )
        error = b""
        async with opening as socket:
            async for message in socket:
                if message.data[:1] == b"\x03":
                    error += message.data[1:]
        assert client.parse_error_data(error) == 8


async def allow(wire: Wire, user: str, *verbs: str) -> None:
    """Bind user to a role with these verbs on pods/exec and pods/portforward."""
    api = wire.cluster.api()
    rules = [{"apiGroups": [""], "resources": ["pods/exec", "pods/portforward"], "verbs": list(verbs)}]
    role = {"apiVersion": f"{RBAC}/v1", "kind": "Role", "metadata": {"name": user}, "rules": rules}
    await api.create(GVR(RBAC, "v1", "roles"), role, namespace="default")
    binding = {
        "apiVersion": f"{RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": user},
        "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": user},
        "subjects": [{"apiGroup": RBAC, "kind": "User", "name": user}],
    }
    await api.create(GVR(RBAC, "v1", "rolebindings"), binding, namespace="default")


async def test_opening_a_websocket_takes_get_and_create(wire: Wire) -> None:
    await allow(wire, "looker", "get")
    await allow(wire, "maker", "create")
    await allow(wire, "both", "get", "create")
    query = "command=true&stdout=1"

    async def answer(user: str, method: str, path: str) -> tuple[int, str]:
        async with wire.client() as client:
            headers = {"Impersonate-User": user}
            url = f"{wire.pods_url}/{path}?{query}"
            async with client.request(method, url, headers=headers) as response:
                return response.status, (await response.json())["message"]

    refused = 'pods "p" is forbidden: '
    granted = (400, "Upgrade request required")
    assert await answer("looker", "GET", "p/exec") == (403, refused)
    assert await answer("looker", "GET", "p/portforward") == (403, refused)
    # Who may not run anything does not learn which pods there are.
    assert await answer("looker", "GET", "no-such-pod/exec") == (403, 'pods "no-such-pod" is forbidden: ')
    code, message = await answer("maker", "GET", "p/exec")
    assert (code, 'cannot get resource "pods/exec"' in message) == (403, True)
    assert await answer("maker", "POST", "p/exec") == granted
    assert await answer("both", "GET", "p/exec") == granted
    code, message = await answer("both", "GET", "p/attach")
    assert (code, 'cannot get resource "pods/attach"' in message) == (403, True)


@pytest.mark.parametrize("protocol", [V4, V5])
async def test_a_refused_websocket_is_an_http_answer(wire: Wire, protocol: str) -> None:
    async with wire.client() as client:
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await client.ws_connect(
                f"{wire.pods_url}/p/exec?stdout=1&command=true",
                protocols=(protocol,),
                headers={"Impersonate-User": "nobody"},
            )
        assert caught.value.status == 403
    assert execute("true")["stdout"] == "true"
