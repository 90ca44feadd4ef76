"""The kubelet's file of credential providers: which program knows logins for which images. Pure.

Source: https://kubernetes.io/docs/reference/config-api/kubelet-config.v1/#kubelet-config-k8s-io-v1-CredentialProviderConfig,
pkg/credentialprovider/plugin/config.go (validation).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import yaml

from podbay.errors import InvalidInputError

__all__ = ["Provider", "parse_duration", "parse_provider_config"]

_CONFIG_VERSIONS: Final = tuple(f"kubelet.config.k8s.io/{each}" for each in ("v1", "v1beta1", "v1alpha1"))
_PROTOCOLS: Final = tuple(
    f"credentialprovider.kubelet.k8s.io/{each}" for each in ("v1", "v1beta1", "v1alpha1")
)
_UNITS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_DURATION: Final = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(h|ms|m|s|us|µs|ns)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """One program. default_seconds: how long an answer is kept that does not say."""

    name: str
    match_images: tuple[str, ...]
    default_seconds: float
    protocol: str = _PROTOCOLS[0]
    args: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()


def parse_provider_config(text: str, source: str) -> tuple[Provider, ...]:
    """Read the file. Raises InvalidInputError with its field."""
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as err:
        raise InvalidInputError(f"{source} is not YAML: {err}") from None
    if not isinstance(document, dict) or document.get("kind") != "CredentialProviderConfig":
        raise InvalidInputError(f"{source}: kind: must be CredentialProviderConfig")
    if document.get("apiVersion") not in _CONFIG_VERSIONS:
        raise InvalidInputError(f"{source}: apiVersion: one of {', '.join(_CONFIG_VERSIONS)}")
    listed = document.get("providers")
    if not isinstance(listed, list) or not listed:
        raise InvalidInputError(f"{source}: providers: at least 1 item required")
    found = tuple(_provider(each, f"{source}: providers[{number}]") for number, each in enumerate(listed))
    names = [each.name for each in found]
    for number, name in enumerate(names):
        if name in names[:number]:
            raise InvalidInputError(f"{source}: providers[{number}].name: {name} is there twice")
    return found


def _provider(entry: Any, where: str) -> Provider:
    if not isinstance(entry, Mapping):
        raise InvalidInputError(f"{where}: an object is expected")
    name = str(entry.get("name") or "")
    if not name or name in (".", "..") or "/" in name or any(each.isspace() for each in name):
        raise InvalidInputError(f"{where}.name: the file name of a program, without a path")
    if entry.get("apiVersion") not in _PROTOCOLS:
        raise InvalidInputError(f"{where}.apiVersion: one of {', '.join(_PROTOCOLS)}")
    images = entry.get("matchImages")
    if (
        not isinstance(images, list)
        or not images
        or not all(isinstance(each, str) and each for each in images)
    ):
        raise InvalidInputError(
            f"{where}.matchImages: at least one pattern, such as *.dkr.ecr.*.amazonaws.com"
        )
    if entry.get("tokenAttributes"):
        raise InvalidInputError(
            f"{where}.tokenAttributes: providers get no service account tokens here; leave it out, and let the program "
            "use the credentials of this machine"
        )
    try:
        seconds = parse_duration(entry.get("defaultCacheDuration"))
    except ValueError as err:
        raise InvalidInputError(f"{where}.defaultCacheDuration: {err}") from None
    return Provider(
        name=name,
        match_images=tuple(images),
        default_seconds=seconds,
        protocol=str(entry["apiVersion"]),
        args=tuple(map(str, entry.get("args") or ())),
        env=tuple((str(each["name"]), str(each["value"])) for each in entry.get("env") or ()),
    )


def parse_duration(value: Any) -> float:
    """Seconds of a metav1.Duration ("12h", "1m30s", "0"). ValueError for anything else."""
    text = str(value) if value is not None else ""
    if text == "0":
        return 0.0
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is not a duration such as 12h or 5m30s")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)
