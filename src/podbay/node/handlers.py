"""Carrying out what probes and lifecycle hooks ask for: a command, an HTTP request, a TCP connection, a health call.

Source: pkg/probe/{exec,http,tcp,grpc}, pkg/kubelet/lifecycle/handlers.go.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass

from podbay.errors import PodbayError
from podbay.node.dialing import Streamed, dial, dial_through
from podbay.node.grpc_health import check_health
from podbay.node.observed import SandboxStatus
from podbay.node.probes import Answer
from podbay.node.runtime import Streams
from podbay.node.specs import ExecSpec
from podbay.objects.meta import Object

__all__ = ["Handlers", "Target", "port_number"]

OUTPUT_BYTES = 10 * 1024
"""How much of a command's or server's answer is kept."""


@dataclass(frozen=True, slots=True)
class Target:
    """Whom a handler talks to."""

    pod: Object
    container: Object
    container_id: str
    sandbox: SandboxStatus
    host_ip: str

    @property
    def address(self) -> str:
        """The pod's address, loopback for pods on the node's network and where pods have none."""
        if self.pod["spec"].get("hostNetwork") or not self.sandbox.ips:
            return "127.0.0.1"
        return self.sandbox.ips[0]


def port_number(container: Object, port: int | str) -> int:
    """A port given by number or by name. Raises ValueError."""
    if isinstance(port, int):
        return port
    for declared in container.get("ports") or ():
        if declared.get("name") == port:
            return int(declared["containerPort"])
    if port.isdigit():
        return int(port)
    raise ValueError(f'couldn\'t find port: "{port}" in container "{container["name"]}"')


class Handlers:
    """Runs handlers through the runtime's streams and, where they reach pods, this machine's sockets."""

    def __init__(self, streams: Streams, *, reaches_pods: bool) -> None:
        self._streams = streams
        self._reaches_pods = reaches_pods

    async def probe(self, target: Target, probe: Object) -> Answer:
        """One probe, within its time-out."""
        seconds = float(probe.get("timeoutSeconds") or 1)
        try:
            async with asyncio.timeout(seconds):
                return await self._probe(target, probe, seconds)
        except TimeoutError:
            return Answer(False, _timeout_text(target, probe, seconds))
        except ValueError as error:
            return Answer(False, str(error), errored=True)

    async def hook(self, target: Target, hook: Object) -> Answer:
        """One lifecycle handler; its caller sets the time limit."""
        if (pause := hook.get("sleep")) is not None:
            await asyncio.sleep(float(pause.get("seconds") or 0))
            return Answer(True)
        if hook.get("exec") is not None:
            return await self._exec(target, hook["exec"].get("command") or [])
        if hook.get("httpGet") is not None:
            try:
                return await self._http(target, hook["httpGet"], "kube-lifecycle/1.36")
            except ValueError as error:
                return Answer(False, str(error))
        # tcpSocket hooks have never done anything.
        return Answer(True)

    async def _probe(self, target: Target, probe: Object, seconds: float) -> Answer:
        if probe.get("exec") is not None:
            return await self._exec(target, probe["exec"].get("command") or [])
        if probe.get("httpGet") is not None:
            return await self._http(target, probe["httpGet"], "kube-probe/1.36")
        if probe.get("tcpSocket") is not None:
            return await self._tcp(target, probe["tcpSocket"])
        if probe.get("grpc") is not None:
            return await self._grpc(target, probe["grpc"], seconds)
        return Answer(False, "missing probe handler", errored=True)

    async def _exec(self, target: Target, command: list[str]) -> Answer:
        try:
            session = await self._streams.exec(target.container_id, ExecSpec(command=command))
        except (PodbayError, OSError) as error:
            return Answer(False, str(error), errored=True)
        kept = bytearray()
        try:
            async for _, chunk in session.output():
                kept += chunk[: OUTPUT_BYTES - len(kept)]
            code = await session.wait()
        finally:
            await session.aclose()
        return Answer(code == 0, kept.decode("utf-8", "replace"))

    async def _http(self, target: Target, action: Object, agent: str) -> Answer:
        scheme = (action.get("scheme") or "HTTP").lower()
        port = port_number(target.container, action["port"])
        host = action.get("host") or target.address
        path = action.get("path") or "/"
        path = path if path.startswith("/") else f"/{path}"
        async with AsyncExitStack() as stack:
            tls, given = scheme == "https", action.get("host") or ""
            try:
                reader, writer = await self._open(stack, target, given, port, tls=tls)
            except OSError as error:
                return Answer(False, f'Get "{scheme}://{host}:{port}{path}": {_dial(host, port, error)}')
            try:
                writer.write(_request(action, host, port, path, agent))
                await writer.drain()
                return await _response(reader)
            except (OSError, asyncio.IncompleteReadError, ValueError):
                return Answer(False, f'Get "{scheme}://{host}:{port}{path}": EOF')

    async def _tcp(self, target: Target, action: Object) -> Answer:
        port = port_number(target.container, action["port"])
        async with AsyncExitStack() as stack:
            try:
                await self._open(stack, target, action.get("host") or "", port, tls=False)
            except OSError as error:
                return Answer(False, _dial(action.get("host") or target.address, port, error))
        return Answer(True)

    async def _grpc(self, target: Target, action: Object, seconds: float) -> Answer:
        port = int(action["port"])
        where = f"{target.address}:{port}"
        async with AsyncExitStack() as stack:
            try:
                reader, writer = await self._open(stack, target, "", port, tls=False)
            except OSError:
                text = f'timeout: failed to connect service "{where}" within {seconds:g}s: context deadline exceeded'
                return Answer(False, text)
            service = action.get("service") or ""
            try:
                status = await check_health(reader, writer, service=service, authority=where)
            except (OSError, asyncio.IncompleteReadError):
                return Answer(False, "error: health rpc probe failed: connection closed")
        if status == "SERVING":
            return Answer(True, "service healthy")
        return Answer(False, f'service unhealthy (responded with "{status}")')

    async def _open(
        self, stack: AsyncExitStack, target: Target, host: str, port: int, *, tls: bool
    ) -> Streamed:
        """host is one that the probe names: the node asks it, whether it is the pod or not."""
        if host or self._reaches_pods:
            return await dial(stack, host or target.address, port, tls=tls)
        return await dial_through(stack, self._streams, target.sandbox.id, port, tls=tls)


def _dial(host: str, port: int, error: OSError) -> str:
    words = (
        "connection refused"
        if isinstance(error, ConnectionRefusedError)
        else (error.strerror or str(error)).lower()
    )
    return f"dial tcp {host}:{port}: connect: {words}"


def _timeout_text(target: Target, probe: Object, seconds: float) -> str:
    if (command := (probe.get("exec") or {}).get("command")) is not None:
        return f'command timed out: "{" ".join(command)}" timed out after {seconds:g}s'
    if (action := probe.get("httpGet")) is not None:
        scheme = (action.get("scheme") or "HTTP").lower()
        host = action.get("host") or target.address
        port = port_number(target.container, action["port"])
        url = f"{scheme}://{host}:{port}{action.get('path') or '/'}"
        return f'Get "{url}": context deadline exceeded (Client.Timeout exceeded while awaiting headers)'
    if (action := probe.get("tcpSocket")) is not None:
        port = port_number(target.container, action["port"])
        return f"dial tcp {action.get('host') or target.address}:{port}: i/o timeout"
    return f"timeout: health rpc did not complete within {seconds:g}s"


def _request(action: Object, host: str, port: int, path: str, agent: str) -> bytes:
    headers = {h["name"].lower(): (h["name"], h.get("value") or "") for h in action.get("httpHeaders") or ()}
    headers.setdefault("host", ("Host", f"{host}:{port}"))
    headers.setdefault("user-agent", ("User-Agent", agent))
    headers.setdefault("accept", ("Accept", "*/*"))
    headers["connection"] = ("Connection", "close")
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.values() if value)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def _response(reader: asyncio.StreamReader) -> Answer:
    status = (await reader.readline()).split(maxsplit=2)
    if len(status) < 2:
        raise ValueError("no HTTP answer")
    code = int(status[1])
    if 200 <= code < 400:
        return Answer(True)
    return Answer(False, f"HTTP probe failed with statuscode: {code}")
