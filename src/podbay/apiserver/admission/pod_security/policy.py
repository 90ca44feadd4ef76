"""Which level of the pod security standards a namespace asks for, by its labels.

Source: k8s.io/pod-security-admission/api/helpers.go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from podbay.apiserver.field import FieldError, Path, invalid

__all__ = ["LEVELS", "LevelVersion", "Policy", "policy_of"]

LEVELS = ("privileged", "baseline", "restricted")
"""From the loosest to the strictest."""

_PREFIX = "pod-security.kubernetes.io/"
_VERSION = re.compile(r"v1\.([0-9]|[1-9][0-9]*)")
_LABELS = Path("metadata").child("labels")


@dataclass(frozen=True, slots=True)
class LevelVersion:
    """A level as one Kubernetes minor version defined it; minor None is the latest one."""

    level: str = "privileged"
    minor: int | None = None

    def __str__(self) -> str:
        return f"{self.level}:{'latest' if self.minor is None else f'v1.{self.minor}'}"

    @property
    def strictness(self) -> int:
        return LEVELS.index(self.level)


@dataclass(frozen=True, slots=True)
class Policy:
    """What is refused (enforce) and what is only warned about (warn). The audit labels are checked, not used:
    there is no audit log."""

    enforce: LevelVersion = LevelVersion()
    warn: LevelVersion = LevelVersion()


def policy_of(labels: Mapping[str, str]) -> tuple[Policy, list[FieldError]]:
    """The policy that the labels of a namespace ask for, and what is wrong with them.

    Bad labels still give a policy: enforce falls to the strictest level, warn to the loosest.
    """
    errors: list[FieldError] = []
    enforce = _level_version(labels, "enforce", on_error="restricted", errors=errors)
    _level_version(labels, "audit", on_error="privileged", errors=errors)
    warn = _level_version(labels, "warn", on_error="privileged", errors=errors)
    enforce_is_valid = labels.get(_PREFIX + "enforce") in LEVELS
    if _PREFIX + "warn" not in labels and enforce_is_valid and enforce.strictness > warn.strictness:
        if _PREFIX + "warn-version" in labels:
            warn = replace(warn, level=enforce.level)
        else:
            warn = enforce
    return Policy(enforce, warn), errors


def _level_version(
    labels: Mapping[str, str], mode: str, *, on_error: str, errors: list[FieldError]
) -> LevelVersion:
    level, minor = "privileged", None
    label = _PREFIX + mode
    if label in labels:
        level = labels[label]
        if level not in LEVELS:
            errors.append(invalid(_LABELS.key(label), level, f"must be one of {', '.join(LEVELS)}"))
            level = on_error
    label = f"{_PREFIX}{mode}-version"
    version = labels.get(label, "latest")
    if version != "latest":
        match = _VERSION.fullmatch(version)
        if match is None:
            errors.append(invalid(_LABELS.key(label), version, 'must be "latest" or "v1.x"'))
        else:
            minor = int(match[1])
    return LevelVersion(level, minor)
