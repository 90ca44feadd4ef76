"""Requests for tests: out of a golden input file, and at random."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from podbay.pods.identity import TaskIdentity
from podbay.pods.request import PodDefaults, PodRequest, SidecarOptions

GOLDEN = Path(__file__).parent.parent / "golden/pods"


def golden_cases(ending: str = ".input.yaml") -> list[str]:
    """The names of all cases that have a file with this ending."""
    return sorted(path.name.removesuffix(ending) for path in GOLDEN.glob(f"*{ending}"))


def golden_file(case: str, ending: str) -> Path:
    return GOLDEN / f"{case}{ending}"


def read_case(case: str) -> tuple[PodRequest, PodDefaults]:
    given = yaml.safe_load(golden_file(case, ".input.yaml").read_text())
    return pod_request(given["request"]), pod_defaults(given.get("defaults") or {})


def pod_request(values: dict[str, Any]) -> PodRequest:
    """A PodRequest out of plain values; what is absent is UNSET, null is None."""
    made = dict(values)
    if "identity" in made:
        made["identity"] = TaskIdentity(**made["identity"])
    if "sidecar" in made:
        made["sidecar"] = SidecarOptions(**made["sidecar"])
    return PodRequest(**made)


def pod_defaults(values: dict[str, Any]) -> PodDefaults:
    made = dict(values)
    if "sidecar" in made:
        made["sidecar"] = SidecarOptions(**made["sidecar"])
    return PodDefaults(**made)
