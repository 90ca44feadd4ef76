"""The whole error tree. Nothing else in Podbay defines an exception class.

PodbayError
├── ApiError            a Kubernetes API answered with `kind: Status` (either side of the wire raises it)
├── InvalidInputError   a file, option or field given by a person is wrong; names the field's path
├── ConflictError       something is taken: a port, a cluster name, a lock
├── StateError          a state file cannot be used: newer version, damaged, not writable, disk full
├── RuntimeUnavailableError   no container runtime, or the one there cannot do what is asked
├── PullError           an image could not be had; carries the kubelet's reason
├── StartError          a container could not be created or started; carries the runtime's words
├── UnreachableError    an API server could not be reached, or the connection broke before its answer was whole
├── CredentialError     no credentials for a cluster or a registry could be had: a plugin or file failed; names it
├── NodegroupError      a node group of a cloud could not be made or deleted in time; names it
├── RegistryError       an image registry refused, failed or was not reached; names registry or image
├── AirflowApiError     Airflow's REST API refused, failed or was not reached; names what was asked
└── ClosedError         a component was used before it was opened or after it was closed

Every message says what happened, to which object, and what to do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = [
    "AirflowApiError",
    "ApiError",
    "ClosedError",
    "ConflictError",
    "CredentialError",
    "InvalidInputError",
    "NodegroupError",
    "PodbayError",
    "PullError",
    "RegistryError",
    "RuntimeUnavailableError",
    "StartError",
    "StateError",
    "UnreachableError",
]


class PodbayError(Exception):
    """Base of every error that Podbay raises on purpose."""

    after_doubt: bool = False
    """The request had been sent before without an answer, and that attempt may have taken effect."""


class ApiError(PodbayError):
    """A Kubernetes API refused a request; carries the fields of `kind: Status` (meta/v1).

    code is the HTTP status, reason the machine word ("NotFound"), message the human sentence,
    details the optional object with `causes` and `retryAfterSeconds`. continue_token goes with a 410 on a list that
    may be continued inconsistently.
    """

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        *,
        details: Mapping[str, Any] | None = None,
        continue_token: str = "",
    ) -> None:
        super().__init__(message)
        self.continue_token = continue_token
        self.code = code
        self.reason = reason
        self.message = message
        self.details: dict[str, Any] | None = None if details is None else dict(details)

    @property
    def causes(self) -> Sequence[Mapping[str, Any]]:
        """The `details.causes` list, empty when there is none."""
        return (self.details or {}).get("causes") or ()

    @property
    def retry_after_seconds(self) -> int | None:
        """Seconds the server asks to wait, or None."""
        value = (self.details or {}).get("retryAfterSeconds")
        return int(value) if value else None

    def status(self) -> dict[str, Any]:
        """The `kind: Status` object as it goes over the wire."""
        body: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {"continue": self.continue_token} if self.continue_token else {},
            "status": "Failure",
        }
        if self.message:
            body["message"] = self.message
        if self.reason:
            body["reason"] = self.reason
        if self.details is not None:
            body["details"] = {k: v for k, v in self.details.items() if v not in (None, "", [], 0)}
        body["code"] = self.code
        return body

    @classmethod
    def from_status(cls, status: Mapping[str, Any]) -> ApiError:
        """Rebuild the error from a `kind: Status` body."""
        return cls(
            int(status.get("code") or 500),
            str(status.get("reason") or ""),
            str(status.get("message") or ""),
            details=status.get("details"),
            continue_token=str((status.get("metadata") or {}).get("continue") or ""),
        )


class InvalidInputError(PodbayError):
    """Input from a person is wrong. The message names the file, option or field path and the fix."""

    def __init__(
        self, message: str = "", *, subject: str = "", problems: Sequence[tuple[str, str]] = ()
    ) -> None:
        super().__init__(message)
        self.subject = subject
        self.problems = tuple(problems)
        """Path and sentence of each, for whoever knows the paths by other names; empty where it is one sentence."""


class ConflictError(PodbayError):
    """Something that must be ours is taken: a port, a cluster name, a lock file."""


class StateError(PodbayError):
    """A state file or directory cannot be used as it is."""


class NodegroupError(PodbayError):
    """A node group of a cloud could not be made or deleted in time. The message names it and says what it costs."""


class RuntimeUnavailableError(PodbayError):
    """No container runtime can be used; the message names the package to install."""


class PullError(PodbayError):
    """An image could not be had. `reason` is the kubelet's word, such as ErrImagePull or InvalidImageName."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class StartError(PodbayError):
    """A container could not be created or started. `reason` is the kubelet's word, `exit_code` what it reports."""

    def __init__(self, reason: str, message: str, *, exit_code: int = 128) -> None:
        super().__init__(message)
        self.reason = reason
        self.exit_code = exit_code


class UnreachableError(PodbayError):
    """The network failed, not the server's judgement. Raised by `kube.transport` alone.

    kind is one of "dns", "refused", "tls", "timeout", "broken", "silent". maybe_sent tells that the request may have
    taken effect all the same; permanent that trying again cannot help (a certificate that does not verify).
    """

    def __init__(self, kind: str, message: str, *, maybe_sent: bool = False, permanent: bool = False) -> None:
        super().__init__(message)
        self.kind = kind
        self.maybe_sent = maybe_sent
        self.permanent = permanent


class CredentialError(PodbayError):
    """Credentials for a cluster or a registry could not be had; no request was sent. The message names plugin or file and the fix."""


class RegistryError(PodbayError):
    """An image registry did not give what was asked for. Raised by `registries` alone; nodes raise PullError.

    kind is one of "login" (wrong user or password), "denied" (known, but may not), "no-repository", "no-tag",
    "no-blob", "dns", "proxy", "refused", "tls", "plain-http", "timeout", "broken", "rate-limit", "unavailable", "digest",
    "odd".
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class AirflowApiError(PodbayError):
    """Airflow's REST API did not give what was asked for. The message names the request, what came and the fix."""


class ClosedError(PodbayError):
    """A component was used outside its `async with` block."""
