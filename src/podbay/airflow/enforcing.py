"""The deployment's rules (podbay.yaml, named by $PODBAY_FILE) on every task's pod, of our operator and of upstream's.

Last of all, after the mutation hooks of others (spec 19). Pods for other namespaces are other deployments' business and get
this one's labels and aliases only (spec 93); pods that are no task's, such as KubernetesExecutor's workers, are left alone.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from podbay.objects.meta import Object, labels_of, name_of, namespace_of
from podbay.pods.problems import refuse

if TYPE_CHECKING:
    from podbay.deployment.model import Deployment

__all__ = ["enforce_on_task", "enforcement"]

FILE_VARIABLE: Final = "PODBAY_FILE"
_TASK_LABEL: Final = "kubernetes_pod_operator"


def enforcement() -> Callable[[Object], Object] | None:
    """What is to be done to every task's pod; None where no deployment is named."""
    return enforce_on_task if os.environ.get(FILE_VARIABLE) else None


def enforce_on_task(pod: Object) -> Object:
    """The pod as the deployment wants it. Raises InvalidInputError with everything that it forbids."""
    if labels_of(pod).get(_TASK_LABEL) != "True":
        return pod
    # Not before there is a deployment: the policies are read by every process of Airflow.
    from podbay.deployment.enforce import enforce

    deployment = _deployment()
    found = enforce(pod, deployment, in_cluster=namespace_of(pod) == deployment.namespace)
    log = logging.getLogger(__name__)
    for note in found.notes:
        log.info("Deployment %s: %s", deployment.name, note)
    refuse(f"pod {name_of(pod)} against deployment {deployment.name}", list(found.problems))
    return found.pod


def _deployment() -> Deployment:
    path = Path(os.environ[FILE_VARIABLE])
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
