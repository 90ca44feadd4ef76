"""What is to be run, rendered, and the manifests made of it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from podbay.airflow.calls import TaskKey
from podbay.airflow.carried import Carried
from podbay.airflow.connection import ClusterChoice
from podbay.airflow.function import pod_command
from podbay.airflow.limits import Limit
from podbay.airflow.loans import loans_of, with_loans
from podbay.airflow.naming import build_named
from podbay.airflow.ownership import OWNER_ANNOTATION
from podbay.airflow.request import Surroundings, main_container_name, transport
from podbay.airflow.settings import Settings
from podbay.objects.meta import Object, namespace_of
from podbay.pods.identity import TaskIdentity, identity_of
from podbay.pods.request import PodDefaults
from podbay.pods.result import RESULT_PATH
from podbay.pods.template import load_template

if TYPE_CHECKING:
    from podbay.deployment.model import Deployment
    from podbay.deployment.raising import FormerTry

__all__ = ["Builder", "Job", "MutatePod", "limits_of", "with_function"]

MutatePod = Callable[[Object], Object]


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is to be run, rendered."""

    key: TaskKey
    carried: Carried
    given: Mapping[str, Any]
    """Rendered parameters."""
    owner: str
    """Token of this life (ownership.py)."""
    settings: Settings
    airflow_version: str
    cleared: int = 0
    """Up to this try the task was ended by a user, who wants it to run anew."""
    told: Mapping[str, Any] = field(default_factory=dict)
    """What of the lives of a try is kept with its checkpoints."""
    mutate: MutatePod | None = None
    """The deployment's pod_mutation_hook."""
    deployment: Deployment | None = None
    """podbay.yaml, where Airflow is told of one."""
    former: FormerTry | None = None
    """What became of the memory of the try before, where the deployment wants to know."""
    kept_by_worker: bool = False
    """A worker begins each try, before which Airflow clears the XComs of the try before."""
    as_made: bool = False
    """Its pod exists, and none is made."""

    @property
    def identity(self) -> TaskIdentity:
        key = self.key
        return TaskIdentity(
            deployment=self.settings.deployment,
            dag_id=key.dag_id,
            run_id=key.run_id,
            task_id=key.task_id,
            map_index=key.map_index,
            try_number=key.try_number,
        )

    def only_what_is_there(self, namespace: str | None) -> Job:
        """For a pod that exists and that would be refused if it were made now."""
        given = {**self.given, "infrastructure_retries": 0, "idempotent": False}
        if namespace is not None:
            given["namespace"] = namespace
        return replace(self, given=given, mutate=None, deployment=None, former=None, as_made=True)


def with_function(given: dict[str, Any], carried: Carried, settings: Settings) -> dict[str, Any]:
    """The command of a `@task.pod`, made of its rendered arguments. Raises InvalidInputError."""
    if carried.function is None:
        return given
    way_out = transport(given, settings.result_transport)
    result = "" if way_out == "none" else RESULT_PATH
    args, kwargs = given.pop("op_args", None) or (), given.pop("op_kwargs", None) or {}
    given["cmds"], given["arguments"] = pod_command(carried.function, args, kwargs, result=result)
    return given


def limits_of(job: Job) -> Sequence[Limit]:
    """What this task is counted by."""
    key = job.key
    scopes = {
        "max_active_tasks": ("dag run", key.dag_id, key.run_id),
        "max_active_tis_per_dag": ("task", key.dag_id, key.task_id),
        "max_active_tis_per_dagrun": ("task run", key.dag_id, key.run_id, key.task_id),
    }
    said = job.carried.limits or {}
    found = [Limit(name, scopes[name], most) for name, most in said.items() if name in scopes]
    if job.settings.max_running_pods:
        found.append(Limit("[podbay] max_running_pods", ("process",), job.settings.max_running_pods))
    return found


class Builder:
    """Manifests of a job's pod by incarnation."""

    def __init__(self, job: Job, choice: ClusterChoice) -> None:
        self._job = job
        self._choice = choice
        self.identity = job.identity
        self.first = 0
        """The number of this run's first incarnation: a former run of the same name may have left pods."""
        self.note = ""
        """What was changed for the sake of an earlier try, for the task's log; once built."""
        image = job.settings.result_image or None
        wishes = choice.sidecar
        self._sidecar = wishes if wishes.image or image is None else replace(wishes, image=image)
        self._defaults: PodDefaults | None = None
        self._made: dict[TaskIdentity, Object] = {}
        text = job.carried.template_text
        path = str(job.given.get("pod_template_file") or "pod_template_file")
        self._template = None if text is None else load_template(text, path)

    def is_own(self, pod: Object) -> bool:
        found = identity_of(pod)
        return found is not None and replace(found, incarnation=0) == self.identity

    def build(self, incarnation: int) -> Object:
        """Same number, same manifest, a copy of its own. Raises InvalidInputError with every problem."""
        # Of which try it is may change: an earlier one's pod is taken over.
        identity = replace(self.identity, incarnation=incarnation)
        if identity not in self._made:
            self._made[identity] = self._make(identity)
        return copy.deepcopy(self._made[identity])

    def _make(self, identity: TaskIdentity) -> Object:
        if self._defaults is None:
            self._defaults = self._chosen_defaults(self._built(identity, None))
            given = self._defaults.sidecar.resources
            if self._sidecar.resources is None and given is not None:
                self._sidecar = replace(self._sidecar, resources=given)
        pod = self._built(identity, self._defaults)
        given = self._job.given
        pod = with_loans(pod, loans_of(given), main_container_name(given), identity)
        if self._job.mutate is not None:
            pod = self._job.mutate(pod)
        pod = self._with_memory(pod)
        pod["metadata"].setdefault("annotations", {})[OWNER_ANNOTATION] = self._job.owner
        return pod

    def _with_memory(self, pod: Object) -> Object:
        """Last of all: mutation hooks say what a task's size is, and a retry may need more than that."""
        job = self._job
        if job.deployment is None or job.former is None or namespace_of(pod) != job.deployment.namespace:
            return pod
        from podbay.deployment.raising import raise_memory

        raised = raise_memory(pod, main_container_name(job.given), job.former, job.deployment)
        self.note = raised.note
        return raised.pod

    def _built(self, identity: TaskIdentity, defaults: PodDefaults | None) -> Object:
        around = Surroundings(
            identity=identity,
            airflow_version=self._job.airflow_version,
            in_cluster=self._choice.in_cluster,
            default_namespace=self._choice.namespace,
            template=self._template,
            sidecar=self._sidecar,
            transport=self._job.settings.result_transport,
        )
        return build_named(self._job.given, around, defaults).pod

    def _chosen_defaults(self, pod: Object) -> PodDefaults:
        """The deployment's, by where the pod goes: layers may say so, and rules hold in its own namespace (spec 93)."""
        deployment = self._job.deployment
        if deployment is None:
            return PodDefaults()
        from podbay.deployment.enforce import pod_defaults

        return pod_defaults(deployment, in_cluster=namespace_of(pod) == deployment.namespace)
