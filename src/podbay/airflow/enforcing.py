"""The deployment's rules (podbay.yaml, named by $PODBAY_FILE) on every task's pod, of our operator and of upstream's.

Last of all, after the mutation hooks of others (spec 19). Pods for other namespaces are other deployments' business and get
this one's labels and aliases only (spec 93); pods that are no task's, such as KubernetesExecutor's workers, are left alone.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from podbay.objects.meta import Object, labels_of, name_of, namespace_of
from podbay.pods.identity import identity_of
from podbay.pods.problems import refuse

if TYPE_CHECKING:
    from podbay.deployment.model import Deployment

__all__ = ["FILE_VARIABLE", "current_deployment", "enforce_on_task", "enforcement"]

FILE_VARIABLE: Final = "PODBAY_FILE"
_TASK_LABEL: Final = "kubernetes_pod_operator"
_IMAGE_VARIABLES: Final = ("PODBAY_AIRFLOW_IMAGE", "ASTRONOMER_AIRFLOW_IMAGE")
"""The image that this Airflow runs in, for the alias `airflow`: a container does not know its own image (spec 65)."""


def enforcement(queue: str | None = None) -> Callable[[Object], Object] | None:
    """What is to be done to every task's pod; None where no deployment is named. `queue` is the task's, where known."""
    return partial(enforce_on_task, queue=queue) if os.environ.get(FILE_VARIABLE) else None


def enforce_on_task(pod: Object, *, queue: str | None = None) -> Object:
    """The pod as the deployment wants it. Raises InvalidInputError with everything that it forbids."""
    deployment = current_deployment() if labels_of(pod).get(_TASK_LABEL) == "True" else None
    if deployment is None:
        return pod
    # Not before there is a deployment: the policies are read by every process of Airflow.
    from podbay.deployment.enforce import enforce

    found = enforce(
        pod,
        deployment,
        queue=queue,
        airflow_image=next((os.environ[each] for each in _IMAGE_VARIABLES if os.environ.get(each)), None),
        in_cluster=namespace_of(pod) == deployment.namespace,
    )
    log = logging.getLogger(__name__)
    for note in found.notes:
        log.info("Deployment %s: %s", deployment.name, note)
    subject = (
        f"pod {name_of(pod)} of task {_task(pod)} against deployment {deployment.name} ({deployment.source})"
    )
    refuse(subject, list(found.problems))
    return found.pod


def _task(pod: Object) -> str:
    identity = identity_of(pod)
    if identity is not None:
        return f"{identity.dag_id}.{identity.task_id}"
    labels = labels_of(pod)
    return f"{labels.get('dag_id', '?')}.{labels.get('task_id', '?')}"


def current_deployment() -> Deployment | None:
    """The deployment that $PODBAY_FILE names, read anew when the file has changed; None where none is named.

    Raises InvalidInputError for a file that is not there or not right.
    """
    file = os.environ.get(FILE_VARIABLE)
    if not file:
        return None
    path = Path(file)
    try:
        changed = path.stat().st_mtime_ns
    except OSError:
        changed = 0
    return _load(path, changed)


@lru_cache(maxsize=1)
def _load(path: Path, changed: int) -> Deployment:
    """Anew when the file has changed, so that a running triggerer follows it."""
    from podbay.deployment.reading import load_deployment

    return load_deployment(path)
