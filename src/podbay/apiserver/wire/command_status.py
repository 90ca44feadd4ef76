"""What a client of exec and attach is told on the error channel when the command is over.

A bare meta/v1 Status, without kind: what Go marshals. Source: k8s.io/kubelet/pkg/cri/streaming/remotecommand/exec.go,
k8s.io/apiserver/pkg/util/proxy/streamtranslator.go.
"""

from __future__ import annotations

from podbay.errors import ApiError
from podbay.objects.meta import Object

__all__ = ["exit_status", "failure", "internal_error", "success"]


def success() -> Object:
    return {"metadata": {}, "status": "Success"}


def exit_status(code: int, *, detail: str) -> Object:
    """A command that ended with a code other than 0; detail are the words behind the colon."""
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: {detail}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }


def internal_error(message: str) -> Object:
    """Go: NewInternalError."""
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"Internal error occurred: {message}",
        "reason": "InternalError",
        "details": {"causes": [{"message": message}]},
        "code": 500,
    }


def failure(error: ApiError) -> Object:
    """A refusal that is a Status already."""
    status = error.status()
    return {name: value for name, value in status.items() if name not in ("kind", "apiVersion")}
