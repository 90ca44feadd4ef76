"""`KubernetesPodOperator`: a task that is a pod. Drop-in for upstream's operator of the same name (docs/operator.md).

The signature is for people and their editors; what the parameters mean stands in the table (parameters.py), and a test
compares the two with upstream's.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from datetime import timedelta
from functools import cache
from typing import Any, ClassVar, Final, Literal

from airflow.sdk import BaseOperator

from podbay.airflow.checking import check_carried, check_names, check_parameters
from podbay.airflow.describing import CHANGES, overridden
from podbay.airflow.foreseeing import foresee
from podbay.airflow.links import PodLink
from podbay.airflow.parameters import PARAMETERS, TEMPLATE_FIELDS, template_fields_of
from podbay.airflow.request import BASE_CONTAINER, taken
from podbay.airflow.task import PodTask, settings

__all__ = ["KubernetesPodOperator"]

# What upstream makes of None, for those who look at or add to an operator's attributes.
_LISTS: Final = frozenset(
    [
        "cmds",
        "arguments",
        "env_vars",
        "env_from",
        "configmaps",
        "ports",
        "volume_mounts",
        "volumes",
        "secrets",
    ]
) | frozenset(["image_pull_secrets", "tolerations", "init_containers", "pod_runtime_info_envs"])
_MAPPINGS: Final = frozenset(["labels", "node_selector", "annotations", "affinity", "security_context"])


class KubernetesPodOperator(PodTask, BaseOperator):
    """Run a task in a pod of its own. Parameters: docs/operator.md."""

    BASE_CONTAINER_NAME = BASE_CONTAINER

    template_fields: Sequence[str] = TEMPLATE_FIELDS
    template_fields_renderers: ClassVar[dict[str, str]] = {"env_vars": "py"}
    operator_extra_links = (PodLink(),)

    def __init__(
        self,
        *,
        kubernetes_conn_id: str | None = "kubernetes_default",
        namespace: str | None = None,
        image: str | None = None,
        name: str | None = None,
        random_name_suffix: bool = True,
        cmds: list[str] | None = None,
        arguments: list[str] | None = None,
        ports: list[Any] | None = None,
        volume_mounts: list[Any] | None = None,
        volumes: list[Any] | None = None,
        env_vars: list[Any] | dict[str, str] | None = None,
        env_from: list[Any] | None = None,
        secrets: list[Any] | None = None,
        in_cluster: bool | None = None,
        cluster_context: str | None = None,
        labels: dict[str, str | None] | None = None,
        reattach_on_restart: bool | None = None,
        durable: bool | None = None,
        startup_timeout_seconds: int = 120,
        startup_check_interval_seconds: int = 5,
        schedule_timeout_seconds: int | None = None,
        get_logs: bool = True,
        base_container_name: str | None = None,
        base_container_status_polling_interval: float = 1,
        init_container_logs: Iterable[str] | str | Literal[True] | None = None,
        container_logs: Iterable[str] | str | Literal[True] | None = None,
        image_pull_policy: str | None = None,
        annotations: dict[str, str] | None = None,
        container_resources: Any = None,
        affinity: Any = None,
        config_file: str | None = None,
        runtime_class_name: str | None = None,
        node_selector: dict[str, str] | None = None,
        image_pull_secrets: list[Any] | str | None = None,
        service_account_name: str | None = None,
        automount_service_account_token: bool | None = None,
        hostnetwork: bool = False,
        host_aliases: list[Any] | None = None,
        tolerations: list[Any] | None = None,
        security_context: Any = None,
        container_security_context: Any = None,
        xcom_sidecar_container_security_context: Any = None,
        dnspolicy: str | None = None,
        dns_config: Any = None,
        hostname: str | None = None,
        subdomain: str | None = None,
        schedulername: str | None = None,
        full_pod_spec: Any = None,
        init_containers: list[Any] | None = None,
        log_events_on_failure: bool = False,
        log_events_on_startup: bool = True,
        do_xcom_push: bool = False,
        pod_template_file: str | None = None,
        pod_template_dict: dict[str, Any] | None = None,
        priority_class_name: str | None = None,
        pod_runtime_info_envs: list[Any] | None = None,
        termination_grace_period: int | None = None,
        configmaps: list[str] | None = None,
        skip_on_exit_code: int | Container[int] | None = None,
        deferrable: bool | None = None,
        poll_interval: float = 2,
        log_pod_spec_on_failure: bool = True,
        on_finish_action: str = "delete_pod",
        on_kill_action: str = "delete_pod",
        is_delete_operator_pod: bool | None = None,
        termination_message_policy: str = "File",
        active_deadline_seconds: int | None = None,
        callbacks: list[type] | type | None = None,
        progress_callback: Callable[[str], None] | None = None,
        logging_interval: int | None = None,
        trigger_kwargs: dict[str, Any] | None = None,
        container_name_log_prefix_enabled: bool = True,
        log_formatter: Callable[[str, str], str] | None = None,
        result_transport: Literal["sidecar", "termination_message"] | None = None,
        idempotent: bool = False,
        infrastructure_retries: int = 3,
        overflow_kubernetes_conn_id: str | None = None,
        overflow_after_seconds: int = 60,
        hold_on_failure: timedelta | None = None,
        env_secrets: Mapping[str, str] | Sequence[str] | None = None,
        lend_connections: Sequence[str] | None = None,
        lend_variables: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        given = {row: taken(row, value) for row, value in locals().items() if row in PARAMETERS}
        # Of a mapped task, whose limit was taken over before (mapping.py).
        self._podbay_timeout = kwargs.pop("_podbay_timeout", None)
        subject = f"{type(self).__name__}(task_id={kwargs.get('task_id')!r})"
        check_names(subject, kwargs, _known_to_airflow())
        given["base_container_name"] = base_container_name or self.BASE_CONTAINER_NAME
        if durable is None:
            given["durable"] = reattach_on_restart
        known = check_parameters(
            subject, given, transport=settings().result_transport, fields=template_fields_of(self)
        )
        foresee(subject, given, known)
        if not overridden(type(self), CHANGES):
            check_carried(subject, given, fields=template_fields_of(self))
        super().__init__(**kwargs)
        for row, value in given.items():
            setattr(self, row, _usual(row, value))
        self.podbay_settle()

    def podbay_parameters(self) -> dict[str, Any]:
        return {row: getattr(self, row, each.default) for row, each in PARAMETERS.items()}

    def _render_nested_template_fields(
        self, value: Any, context: Any, jinja_env: Any, seen_oids: set[int]
    ) -> None:
        fields = _MODEL_TEMPLATES.get(type(value).__name__)
        if fields is None or not hasattr(value, "attribute_map"):
            super()._render_nested_template_fields(value, context, jinja_env, seen_oids)
        elif id(value) not in seen_oids:
            seen_oids.add(id(value))
            self._do_render_template_fields(value, fields, context, jinja_env, seen_oids)

    def _do_render_template_fields(
        self, parent: Any, template_fields: Iterable[str], context: Any, jinja_env: Any, seen_oids: set[int]
    ) -> None:
        # Names of variables are templates, too. Mapped tasks come through here as well.
        if parent is self and isinstance(getattr(self, "env_vars", None), Mapping):
            self.env_vars = [{"name": key, "value": value} for key, value in self.env_vars.items()]
        super()._do_render_template_fields(parent, template_fields, context, jinja_env, seen_oids)

    def dry_run(self) -> None:
        """Print the manifest, without what belongs to one task instance. Needs no cluster."""
        from podbay.airflow.drying import dry_manifest

        print(dry_manifest(self.podbay_parameters(), self.task_id))  # noqa: T201 - what it is for


_MODEL_TEMPLATES: Final[Mapping[str, tuple[str, ...]]] = {
    "V1EnvVar": ("value", "name"),
    "V1ResourceRequirements": ("limits", "requests"),
    "V1Volume": ("name", "persistent_volume_claim", "config_map"),
    "V1VolumeMount": ("name", "sub_path"),
    "V1PersistentVolumeClaimVolumeSource": ("claim_name",),
    "V1ConfigMapVolumeSource": ("name",),
    "V1EnvFromSource": ("config_map_ref",),
    "V1ConfigMapEnvSource": ("name",),
}
"""Upstream renders these fields of the client's models and no others."""


def _usual(name: str, value: Any) -> Any:
    if not value and name in _LISTS:
        return []
    if not value and name in _MAPPINGS:
        return {}
    return value


@cache
def _known_to_airflow() -> frozenset[str]:
    names = set(inspect.signature(BaseOperator.__init__).parameters)
    return frozenset(names | {"default_args", "multiple_outputs", "python_callable", "op_args", "op_kwargs"})
