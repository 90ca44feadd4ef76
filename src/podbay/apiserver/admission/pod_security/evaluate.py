"""Run the checks of a level over a pod.

Source: k8s.io/pod-security-admission/policy/registry.go.
"""

from __future__ import annotations

from podbay.apiserver.admission.pod_security.baseline import BASELINE
from podbay.apiserver.admission.pod_security.finding import Finding
from podbay.apiserver.admission.pod_security.policy import LevelVersion
from podbay.apiserver.admission.pod_security.restricted import RESTRICTED
from podbay.objects.meta import Object, annotations_of

__all__ = ["evaluate"]

_LATEST_MINOR = 36


def evaluate(pod: Object, level: LevelVersion) -> list[Finding]:
    """Everything about the pod that the level forbids: baseline findings first, each part ordered by check."""
    if level.level == "privileged":
        return []
    minor = _LATEST_MINOR if level.minor is None else level.minor
    revisions = {check.id: check.revision(minor) for check in BASELINE}
    if level.level == "restricted":
        for check in RESTRICTED:
            revision = revisions[check.id] = check.revision(minor)
            for overridden in revision.overrides if revision else ():
                revisions.pop(overridden, None)
    annotations, spec = annotations_of(pod), pod.get("spec") or {}
    found = [revision.check(annotations, spec) for revision in revisions.values() if revision]
    return [finding for finding in found if finding is not None]
