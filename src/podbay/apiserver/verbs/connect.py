"""The options of exec, attach and port-forward as the object that admission sees of them.

Source: k8s.io/api/core/v1 (PodExecOptions, PodAttachOptions, PodPortForwardOptions), pkg/endpoints/handlers/rest.go
(ConnectResource).
"""

from __future__ import annotations

from podbay.apiserver.request import Request
from podbay.objects.meta import Object

__all__ = ["connection_options"]

_STREAMS = ("stdin", "stdout", "stderr", "tty")


def connection_options(request: Request, kind: str) -> Object:
    """Nothing is refused here: the wire reads the same parameters again and has the words for bad ones."""
    options: Object = {"kind": kind, "apiVersion": "v1"}
    if kind == "PodPortForwardOptions":
        ports = [p for value in request.query.get("ports") or () for p in value.split(",") if p.isdigit()]
        return {**options, "ports": [int(p) for p in ports]} if ports else options
    for name in _STREAMS:
        if name in request.query and request.param(name).lower() not in ("0", "false"):
            options[name] = True
    if request.param("container"):
        options["container"] = request.param("container")
    if kind == "PodExecOptions" and request.query.get("command"):
        options["command"] = list(request.query["command"])
    return options
