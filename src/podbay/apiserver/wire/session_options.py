"""PodExecOptions, PodAttachOptions and PodPortForwardOptions out of query parameters.

Source: pkg/registry/core/pod/strategy.go streamLocation, k8s.io/kubelet/pkg/cri/streaming remotecommand.NewOptions and
portforward.NewV4Options.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from podbay.apiserver import status
from podbay.apiserver.field import go_quote
from podbay.apiserver.request import Request
from podbay.apiserver.streams import ExecOptions
from podbay.apiserver.wire.query import choose_container, read_boolean
from podbay.objects.meta import Object

__all__ = ["check_streams", "command_options", "forwarded_ports"]

_UNSIGNED = re.compile(r"[0-9]+\Z", re.ASCII)


def command_options(request: Request, pod: Object, *, attach: bool) -> ExecOptions:
    """What to run or to attach to. Raises ApiError 400 for a container that is not there."""
    tty = read_boolean(request, "tty")
    return ExecOptions(
        container=choose_container(pod, request.param("container")),
        command=() if attach else tuple(request.query.get("command") or ()),
        stdin=read_boolean(request, "stdin"),
        stdout=read_boolean(request, "stdout"),
        # A terminal has one output.
        stderr=read_boolean(request, "stderr") and not tty,
        tty=tty,
    )


def check_streams(options: ExecOptions) -> None:
    """Raises ApiError 400 with the kubelet's words when nothing could be seen of the command."""
    if not (options.stdin or options.stdout or options.stderr):
        raise status.bad_request("you must specify at least 1 of stdin, stdout, stderr")


def forwarded_ports(request: Request) -> Sequence[int]:
    """`ports`, repeated or separated by commas. Raises ApiError 400 for what is no port."""
    return [_port(text) for value in request.query.get("ports") or () for text in value.split(",")]


def _port(text: str) -> int:
    if not _UNSIGNED.match(text):
        raise _unreadable(text, "invalid syntax")
    value = int(text)
    if value > 65535:
        raise _unreadable(text, "value out of range")
    return value


def _unreadable(text: str, why: str) -> Exception:
    return status.bad_request(
        f"cannot convert to []int32: strconv.ParseUint: parsing {go_quote(text)}: {why}"
    )
