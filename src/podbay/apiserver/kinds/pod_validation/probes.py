"""Probes, lifecycle hooks and the handlers both are made of.

Source: validateProbe, validateHandler, validateLifecycle in pkg/apis/core/validation/validation.go. Custom stop
signals are off by default in 1.36 and are dropped before validation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from podbay.apiserver.field import FieldError, Path, forbidden, invalid, not_supported, required
from podbay.apiserver.kinds.pod_validation import rules
from podbay.objects import names

__all__ = ["lifecycle_errors", "probes_errors"]

_SCHEMES = ("HTTP", "HTTPS")
_PROBE_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc")
_LIFECYCLE_HANDLERS = ("exec", "httpGet", "tcpSocket", "sleep")


def probes_errors(path: Path, container: Mapping[str, Any], grace_period: int | None) -> list[FieldError]:
    """The three probes of a container that may have them."""
    errors: list[FieldError] = []
    for field in ("livenessProbe", "readinessProbe", "startupProbe"):
        probe = container.get(field)
        if probe is None:
            continue
        at = path.child(field)
        errors += _probe_errors(at, probe, grace_period)
        if field == "readinessProbe":
            grace = probe.get("terminationGracePeriodSeconds")
            if grace is not None:
                words = "must not be set for readinessProbes"
                errors.append(invalid(at.child("terminationGracePeriodSeconds"), grace, words))
        elif (probe.get("successThreshold") or 0) != 1:
            value = probe.get("successThreshold") or 0
            errors.append(invalid(at.child("successThreshold"), value, "must be 1"))
    return errors


def _probe_errors(path: Path, probe: Mapping[str, Any], grace_period: int | None) -> list[FieldError]:
    errors = _handler_errors(path, probe, _PROBE_HANDLERS, grace_period)
    for field in (
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ):
        errors += rules.nonnegative(path.child(field), probe.get(field))
    grace = probe.get("terminationGracePeriodSeconds")
    if grace is not None and grace <= 0:
        at = path.child("terminationGracePeriodSeconds")
        errors.append(invalid(at, grace, "must be greater than 0"))
    return errors


def lifecycle_errors(
    path: Path, lifecycle: Mapping[str, Any] | None, grace_period: int | None
) -> list[FieldError]:
    """postStart and preStop."""
    errors: list[FieldError] = []
    for field in ("postStart", "preStop"):
        handler = (lifecycle or {}).get(field)
        if handler is not None:
            errors += _handler_errors(path.child(field), handler, _LIFECYCLE_HANDLERS, grace_period)
    return errors


def _handler_errors(
    path: Path, handler: Mapping[str, Any], kinds: tuple[str, ...], grace_period: int | None
) -> list[FieldError]:
    errors: list[FieldError] = []
    found = False
    for kind in kinds:
        action = handler.get(kind)
        if action is None:
            continue
        at = path.child(kind)
        if found:
            errors.append(forbidden(at, "may not specify more than 1 handler type"))
        else:
            errors += _action_errors(at, kind, action, grace_period)
        found = True
    return errors if found else [required(path, "must specify a handler type")]


def _action_errors(
    path: Path, kind: str, action: Mapping[str, Any], grace_period: int | None
) -> list[FieldError]:
    if kind == "exec":
        return [] if action.get("command") else [required(path.child("command"))]
    if kind == "httpGet":
        return _http_errors(path, action)
    if kind == "sleep":
        return _sleep_errors(path, action.get("seconds") or 0, grace_period)
    return rules.port(path.child("port"), action.get("port"))


def _http_errors(path: Path, action: Mapping[str, Any]) -> list[FieldError]:
    errors = rules.required_text(path.child("path"), action.get("path"))
    errors += rules.port(path.child("port"), action.get("port"))
    scheme = action.get("scheme") or ""
    if scheme not in _SCHEMES:
        errors.append(not_supported(path.child("scheme"), scheme, _SCHEMES))
    for header in action.get("httpHeaders") or ():
        name = header.get("name") or ""
        errors += rules.each(path.child("httpHeaders"), name, names.http_header_name_errors(name))
    return errors


def _sleep_errors(path: Path, seconds: int, grace_period: int | None) -> list[FieldError]:
    if grace_period is None or 0 <= seconds <= grace_period:
        return []
    words = f"must be non-negative and less than terminationGracePeriodSeconds ({grace_period})"
    return [invalid(path, seconds, words)]
