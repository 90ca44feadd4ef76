"""pods/exec, attach and portforward: from a granted request to a running session, in the protocol the client speaks.

Where kube-apiserver hands the connection on to a kubelet, a refusal by the kubelet reaches the client as the kubelet
wrote it, in plain text; only v5 WebSockets, which kube-apiserver translates itself, are answered first and told then.
Source: pkg/registry/core/pod/rest/subresources.go.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from aiohttp import WSCloseCode, web

from podbay.aio.race import race, to_the_end
from podbay.apiserver import status
from podbay.apiserver.request import Request
from podbay.apiserver.result import StreamResult
from podbay.apiserver.streams import ExecOptions, ExecSession, NodeStreams
from podbay.apiserver.wire import command_status, handshake
from podbay.apiserver.wire.channels import V5, Channels, open_websocket
from podbay.apiserver.wire.command_channels import COMMAND_PROTOCOLS, ChannelStreams
from podbay.apiserver.wire.command_spdy import SPDY_COMMAND_PROTOCOLS, SpdyStreams
from podbay.apiserver.wire.duplex import RawDuplex, TunnelDuplex
from podbay.apiserver.wire.nodes import node_of
from podbay.apiserver.wire.port_channels import PORT_CHANNEL_PROTOCOLS, serve_port_channels
from podbay.apiserver.wire.port_forward import PORT_PROTOCOL
from podbay.apiserver.wire.port_spdy import PortForwarding
from podbay.apiserver.wire.remote_command import Outcome, run_session
from podbay.apiserver.wire.session_options import check_streams, command_options, forwarded_ports
from podbay.errors import ApiError, StartError
from podbay.objects.meta import Object, name_of

if TYPE_CHECKING:
    from podbay.apiserver.core import Core

__all__ = ["serve_session"]

logger = logging.getLogger(__name__)

_TUNNEL = f"SPDY/3.1+{PORT_PROTOCOL}"
Start = Callable[[], Awaitable[ExecSession]]


async def serve_session(
    core: Core, raw: web.BaseRequest, request: Request, result: StreamResult
) -> web.StreamResponse:
    """Serve the session to its end. Raises ApiError before the connection is upgraded, never after."""
    if result.kind == "portforward":
        return await _serve_ports(core, raw, request, result.pod)
    attach = result.kind == "attach"
    options = command_options(request, result.pod, attach=attach)
    node = _bound_node(core, result.pod)
    wanted = handshake.wanted_upgrade(raw)
    command = _Command(raw, options, partial(_start, node, result.pod, options, attach=attach), attach)
    if wanted.kind == "spdy":
        return await command.over_spdy(wanted.protocols)
    if V5 in wanted.protocols:
        return await command.over_v5()
    return await command.over_websocket(wanted.protocols)


def _bound_node(core: Core, pod: Object) -> NodeStreams:
    node = node_of(core, pod)
    if node is None:
        raise status.bad_request(f"pod {name_of(pod)} does not have a host assigned")
    return node


async def _start(node: NodeStreams, pod: Object, options: ExecOptions, *, attach: bool) -> ExecSession:
    check_streams(options)
    if attach:
        return await node.attach(pod, options)
    if not options.command:
        raise StartError("RunContainerError", "no command was given")
    return await node.exec(pod, options)


@dataclass(frozen=True, slots=True)
class _Command:
    """One exec or attach request and the ways to serve it."""

    raw: web.BaseRequest
    options: ExecOptions
    start: Start
    attach: bool

    async def over_v5(self) -> web.StreamResponse:
        socket = await open_websocket(self.raw, V5)
        streams = ChannelStreams(Channels(socket, V5), self.options, json_status=True)
        await _socket_work(self.raw, socket, self._greet_and_run(streams, self.start, self._outcome_v5))
        return socket

    async def over_websocket(self, offered: Sequence[str]) -> web.StreamResponse:
        protocol = handshake.choose(offered, COMMAND_PROTOCOLS)
        if protocol is None:
            return handshake.refuse_websocket()
        async with AsyncExitStack() as stack:
            try:
                start = await _start_first(stack, self.start)
            except ApiError as err:
                return _kubelet_refusal(err)
            socket = await open_websocket(self.raw, protocol)
            json_status = protocol.startswith("v4.")
            streams = ChannelStreams(Channels(socket, protocol), self.options, json_status=json_status)
            await _socket_work(self.raw, socket, self._greet_and_run(streams, start, self._outcome))
        return socket

    async def over_spdy(self, offered: Sequence[str]) -> web.StreamResponse:
        # A client that names no version is from before there were any.
        protocol = handshake.choose(offered, (*SPDY_COMMAND_PROTOCOLS, ""))
        if protocol is None:
            return handshake.refuse_spdy(offered, SPDY_COMMAND_PROTOCOLS)
        async with AsyncExitStack() as stack:
            try:
                start = await _start_first(stack, self.start)
            except ApiError as err:
                return _kubelet_refusal(err)
            wire, response = await RawDuplex.upgrade(self.raw, handshake.spdy_headers(protocol))
            streams = SpdyStreams(wire, self.options, protocol)
            await _work(self.raw, race(streams.serve(), self._wait_and_run(streams, start)))
        return response

    async def _greet_and_run(self, streams: ChannelStreams, start: Start, outcome: Outcome) -> None:
        await streams.greet()
        await run_session(streams, start, outcome)

    async def _wait_and_run(self, streams: SpdyStreams, start: Start) -> None:
        if await streams.wait_streams():
            await run_session(streams, start, self._outcome)

    def _outcome(self, code: int) -> Object:
        if self.attach or code == 0:
            return command_status.success()
        command = " ".join(self.options.command)
        return command_status.exit_status(
            code, detail=f"error executing command [{command}], exit code {code}"
        )

    def _outcome_v5(self, code: int) -> Object:
        if self.attach or code == 0:
            return command_status.success()
        return command_status.exit_status(code, detail=f"command terminated with exit code {code}")


async def _start_first(stack: AsyncExitStack, start: Start) -> Start:
    """Start before the connection is upgraded, so that a refusal (ApiError) can still be an HTTP answer.

    Gives back a start that only hands over what has become of it.
    """
    try:
        session = await start()
    except StartError as err:
        failed = err

        async def fail() -> ExecSession:
            raise failed

        return fail
    stack.push_async_callback(lambda: to_the_end(session.aclose()))

    async def started() -> ExecSession:
        return session

    return started


def _kubelet_refusal(err: ApiError) -> web.Response:
    return web.Response(status=err.code, text=err.message, content_type="text/plain")


async def _serve_ports(core: Core, raw: web.BaseRequest, request: Request, pod: Object) -> web.StreamResponse:
    ports = forwarded_ports(request)
    connect = partial(_bound_node(core, pod).port_forward, pod)
    wanted = handshake.wanted_upgrade(raw)
    if wanted.kind == "spdy":
        protocol = handshake.choose(wanted.protocols, (PORT_PROTOCOL, ""))
        if protocol is None:
            return handshake.refuse_spdy(wanted.protocols, (PORT_PROTOCOL,))
        wire, response = await RawDuplex.upgrade(raw, handshake.spdy_headers(protocol))
        await _work(raw, PortForwarding(pod, wire, connect).run())
        return response
    if _TUNNEL in wanted.protocols:
        socket = await open_websocket(raw, _TUNNEL)
        await _socket_work(raw, socket, PortForwarding(pod, TunnelDuplex(socket), connect).run())
        return socket
    protocol = handshake.choose(wanted.protocols, PORT_CHANNEL_PROTOCOLS)
    if protocol is None:
        return handshake.refuse_websocket()
    if not ports or 0 in ports:
        text = 'port "0" must be > 0' if ports else 'query parameter "port" is required'
        return _kubelet_refusal(status.bad_request(text))
    socket = await open_websocket(raw, protocol)
    await _socket_work(raw, socket, serve_port_channels(pod, ports, Channels(socket, protocol), connect))
    return socket


async def _socket_work(
    raw: web.BaseRequest, socket: web.WebSocketResponse, work: Coroutine[Any, Any, None]
) -> None:
    await _work(raw, work)
    if not socket.closed:
        await socket.close()
    if socket.close_code == WSCloseCode.ABNORMAL_CLOSURE:
        # The client took nothing for too long; what is still buffered for it would keep the connection.
        _abort(raw)


async def _work(raw: web.BaseRequest, work: Coroutine[Any, Any, None]) -> None:
    """What happens on an upgraded connection. It cannot be answered any more, so nothing may be raised."""
    try:
        await work
    except ConnectionError:
        # The client has gone, or speaks a protocol of its own; either way there is nobody to tell.
        _abort(raw)
    except Exception:
        logger.exception("a session on an upgraded connection failed: %s", raw.path)
        _abort(raw)


def _abort(raw: web.BaseRequest) -> None:
    if raw.transport is not None:
        raw.transport.abort()
