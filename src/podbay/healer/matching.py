"""Whose a pod is (spec 17, 21-23). Pure.

Our own pods carry the exact identity. Those of the upstream operator carry labels that are lossy: they are computed
forward from every task instance that Airflow tells of and compared, never decoded. Several task instances may have the
same labels; a pod then has several owners, and each of them protects it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal, TypeAlias

from podbay.healer.rules import Rules
from podbay.healer.world import TaskInstance
from podbay.objects.meta import Object, annotations_of, labels_of, metadata_of, name_of
from podbay.pods.identity import DEPLOYMENT_LABEL, TaskIdentity, identity_of, safe_label_value, task_labels
from podbay.pods.shell import SHELL_OF_LABEL

__all__ = ["Claim", "LabelIndex", "LabelsKey", "claim_of", "label_differences", "labels_key"]

Claim: TypeAlias = Literal["ours", "upstream", "damaged", "shell", "foreign"]
"""Exact identity of this deployment; the upstream operator's, by labels; ours or upstream's, but not whole; a copy that
`podbay shell` made of one of this deployment's; not ours."""

_REQUIRED: Final = ("dag_id", "task_id", "run_id")
_COMPARED: Final = (*_REQUIRED, "kubernetes_pod_operator", "map_index", "try_number")
LabelsKey: TypeAlias = tuple[str, str, str, str]


def claim_of(pod: Object, rules: Rules) -> Claim:
    """What the pod says of whose it is."""
    labels, annotations = labels_of(pod), annotations_of(pod)
    deployment = labels.get(DEPLOYMENT_LABEL)
    if deployment is not None and deployment != safe_label_value(rules.deployment):
        return "foreign"
    if SHELL_OF_LABEL in labels:
        return "foreign" if deployment is None else "shell"
    identity = identity_of(pod)
    if identity is not None:
        if identity.deployment != rules.deployment:
            return "foreign"
        # A copy, such as one for debugging, has all annotations of its original; a name it must have of its own.
        is_whole = name_of(pod).endswith(identity.digest()) and not label_differences(pod, identity)
        return "ours" if is_whole else "damaged"
    if "airflow-worker" in labels or _has_controller(pod):
        return "foreign"
    if labels.get("kubernetes_pod_operator") == "True":
        is_plain = deployment is None and all(labels.get(key) for key in _REQUIRED)
        return "upstream" if is_plain else "damaged"
    has_task = "podbay.dev/task-id" in annotations or all(labels.get(key) for key in _REQUIRED)
    return "damaged" if has_task and (deployment is not None or "try_number" in labels) else "foreign"


def _has_controller(pod: Object) -> bool:
    """Such as a Job: upstream's Job operators label its pods as the pod operator labels its own, and a Job may outlive
    its task (`wait_until_job_complete=False`). It is its controller that ends it, or makes it anew."""
    owners = metadata_of(pod).get("ownerReferences") or ()
    return any(each.get("controller") is True for each in owners)


def label_differences(pod: Object, identity: TaskIdentity) -> list[str]:
    """The platform's labels that the pod lacks or has otherwise than its identity demands."""
    expected, found = task_labels(identity), labels_of(pod)
    expected[DEPLOYMENT_LABEL] = safe_label_value(identity.deployment)
    return [key for key in (*_COMPARED, DEPLOYMENT_LABEL) if found.get(key) != expected.get(key)]


def labels_key(labels: Mapping[str, str]) -> LabelsKey:
    """The labels that tell task instances apart: without `try_number`, which a pod keeps that a later try took over."""
    return (
        labels.get("dag_id", ""),
        labels.get("task_id", ""),
        labels.get("run_id", ""),
        labels.get("map_index", ""),
    )


class LabelIndex:
    """Task instances by the labels that their pods must have."""

    def __init__(self, tasks: Iterable[TaskInstance]) -> None:
        self._tasks = tasks
        self._found: dict[LabelsKey, list[TaskInstance]] | None = None

    def _make(self) -> dict[LabelsKey, list[TaskInstance]]:
        found: dict[LabelsKey, list[TaskInstance]] = {}
        for task in self._tasks:
            key = task.key
            identity = TaskIdentity(
                deployment="any",
                dag_id=key.dag_id,
                run_id=key.run_id,
                task_id=key.task_id,
                map_index=key.map_index,
            )
            found.setdefault(labels_key(task_labels(identity, with_try=False)), []).append(task)
        return found

    def owners(self, pod: Object) -> tuple[TaskInstance, ...]:
        """All task instances whose pod this may be."""
        return self.having(labels_key(labels_of(pod)))

    def having(self, key: LabelsKey) -> tuple[TaskInstance, ...]:
        """All task instances whose pods have these labels."""
        if self._found is None:
            # Hashing the ids of 100,000 task instances takes seconds, which pods with exact identities need not spend.
            self._found = self._make()
        return tuple(self._found.get(key, ()))
