"""Upstream's KubernetesPodOperatorCallback classes and `progress_callback`, called at upstream's moments on a worker.

They take the official client and its V1Pod, which are imported only for tasks that have callbacks.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from podbay.airflow.tasklog import Hearer
from podbay.kube.logs import LogBatch
from podbay.objects.meta import Object

__all__ = ["Callbacks"]


class Callbacks(Hearer):
    """Those of one task; without any it does nothing."""

    def __init__(self, task: Any, context: Mapping[str, Any], given: Mapping[str, Any]) -> None:
        found = getattr(task, "callbacks", None) or []
        self._classes = found if isinstance(found, list) else [found]
        self._progress = getattr(task, "progress_callback", None) or getattr(task, "_progress_callback", None)
        self._task = task
        self._context = context
        self._given = given
        self._client: Any = None
        self._pods: dict[str, Object] = {}

    def mutating(self, hook: Callable[[Object], Object] | None) -> Callable[[Object], Object] | None:
        """The deployment's hook, then on_pod_manifest_created; once for each pod."""
        if not self._classes:
            return hook

        def mutate(pod: Object) -> Object:
            name = pod["metadata"]["name"]
            if name not in self._pods:
                pod = hook(pod) if hook is not None else pod
                model = _model(pod)
                self._call("on_pod_manifest_created", pod_request=model, context=self._context)
                self._pods[name] = _manifest(model)
            return copy.deepcopy(self._pods[name])

        return mutate

    def created(self, pod: Object | None) -> None:
        self._tell("on_pod_creation", pod)

    def started(self, pod: Object | None) -> None:
        self._tell("on_pod_starting", pod)

    def ended(self, pod: Object | None) -> None:
        self._tell("on_pod_completion", pod)
        self._tell("on_pod_teardown", pod)

    def cleaned(self, pod: Object | None) -> None:
        self._tell("on_pod_cleanup", pod)

    def lines(self, batch: LogBatch, pod: Object | None) -> None:
        if not self._classes and self._progress is None:
            return
        model = _model(pod) if self._classes else None
        for line in batch.lines:
            if self._progress is not None:
                self._progress(line.text)
            if self._classes:
                self._call(
                    "progress_callback",
                    line=line.text,
                    container_name=batch.container,
                    timestamp=_timestamp(line.time_ns),
                    pod=model,
                )

    def _tell(self, moment: str, pod: Object | None) -> None:
        if self._classes:
            self._call(moment, pod=_model(pod), context=self._context)

    def _call(self, moment: str, **arguments: Any) -> None:
        from airflow.providers.cncf.kubernetes.callbacks import ExecutionMode

        client = self._core()
        for each in self._classes:
            getattr(each, moment)(client=client, mode=ExecutionMode.SYNC, operator=self._task, **arguments)

    def _core(self) -> Any:
        if self._client is None:
            from airflow.providers.cncf.kubernetes.hooks.kubernetes import KubernetesHook

            given = self._given
            hook = KubernetesHook(
                conn_id=given.get("kubernetes_conn_id", "kubernetes_default"),
                in_cluster=given.get("in_cluster"),
                config_file=given.get("config_file"),
                cluster_context=given.get("cluster_context"),
            )
            self._client = hook.core_v1_client
            for each in self._classes:
                each.on_sync_client_creation(client=self._client, operator=self._task)
        return self._client


def _model(pod: Object | None) -> Any:
    from podbay.airflow.models import model_of

    return None if pod is None else model_of(pod)


def _manifest(model: Any) -> Object:
    from podbay.airflow.models import manifest_of

    return manifest_of(model)


def _timestamp(time_ns: int) -> Any:
    import pendulum

    return pendulum.from_timestamp(time_ns / 1e9) if time_ns else None
