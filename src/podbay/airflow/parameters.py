"""The operator's parameters: every upstream name (cncf.kubernetes 10.25), what it becomes, and what says nothing.

One table: the operator's signature, the translation to PodRequest and PodPlan, the refusals at parse, and the reference
in docs/operator.md all come from it. Pure; knows no Airflow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

__all__ = [
    "OURS",
    "PARAMETERS",
    "TEMPLATE_FIELDS",
    "Parameter",
    "Part",
    "parameters_of",
    "template_fields_of",
]

OVERFLOW_SECONDS: Final = 60
"""A node that is being added takes minutes; a place that is just being left, seconds."""

Part: TypeAlias = Literal["pod", "cluster", "plan", "log", "task", "none"]
"""Who takes it: the pod's request, the choice of the cluster, the run's plan, the task's log, the operator itself;
"none" is accepted so that DAGs need no change, and has no effect."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One row. `target` is a field of PodRequest for the part "pod"."""

    name: str
    part: Part
    doc: str
    target: str = ""
    default: Any = None
    zero_counts: bool = False
    """False and 0 are said; otherwise whatever is false says nothing, as upstream treats it."""
    none_counts: bool = False
    """None is said, and means another thing than the default."""
    code: bool = False
    """Holds Python code, which only the process that reads the DAG file has."""
    ours: bool = False


def _pod(name: str, target: str, doc: str, **more: Any) -> Parameter:
    return Parameter(name, "pod", doc, target or name, **more)


_POD: Final = (
    _pod(
        "namespace",
        "namespace",
        "Where the pod runs. Else the connection's, else of the pod Airflow runs in, else `default`.",
    ),
    _pod("image", "image", "Image of the main container."),
    _pod("name", "name", "Readable beginning of the pod's name; else the task's id."),
    _pod(
        "random_name_suffix",
        "exact_name",
        "False: the pod is called `name`, else as the template says, else as the task, with nothing behind it; a second pod of "
        "that name is refused by the cluster.",
        default=True,
    ),
    _pod("cmds", "command", "Replaces the image's ENTRYPOINT."),
    _pod("arguments", "args", "Replaces the image's CMD."),
    _pod("ports", "ports", "Ports of the main container."),
    _pod("volume_mounts", "volume_mounts", "Volume mounts of the main container."),
    _pod("volumes", "volumes", "Volumes of the pod."),
    _pod("env_vars", "env", "Environment: names to values, or EnvVars."),
    _pod("pod_runtime_info_envs", "env", "EnvVars that read fields of the pod; after `env_vars`."),
    _pod("env_from", "env_from", "Sources of environment variables."),
    _pod(
        "configmaps", "config_maps", "ConfigMaps whose keys become environment variables; after `env_from`."
    ),
    _pod("secrets", "secrets", "Airflow's `Secret` objects: references to Secrets, as variables or files."),
    _pod("labels", "labels", "Labels; Airflow's own win over one of the same key."),
    _pod("annotations", "annotations", "Annotations."),
    _pod("image_pull_policy", "image_pull_policy", "Always, IfNotPresent or Never."),
    _pod(
        "image_pull_secrets", "image_pull_secrets", "References, or names in one string separated by commas."
    ),
    _pod("container_resources", "resources", "Requests and limits of the main container."),
    _pod("affinity", "affinity", "Affinity of the pod."),
    _pod("node_selector", "node_selector", "Labels a node must have."),
    _pod("tolerations", "tolerations", "Taints the pod tolerates."),
    _pod("runtime_class_name", "runtime_class_name", "RuntimeClass of the pod."),
    _pod("priority_class_name", "priority_class_name", "PriorityClass of the pod."),
    _pod("schedulername", "scheduler_name", "Scheduler of the pod."),
    _pod("service_account_name", "service_account_name", "Service account of the pod."),
    _pod(
        "automount_service_account_token",
        "automount_service_account_token",
        "Whether the pod gets a token of its service account.",
        zero_counts=True,
    ),
    _pod("hostnetwork", "host_network", "Use the node's network.", default=False),
    _pod("host_aliases", "host_aliases", "Lines for /etc/hosts."),
    _pod("security_context", "security_context", "PodSecurityContext."),
    _pod(
        "container_security_context", "container_security_context", "SecurityContext of the main container."
    ),
    _pod(
        "xcom_sidecar_container_security_context",
        "sidecar",
        "SecurityContext of the result sidecar; else the connection's, else as the main container's.",
    ),
    _pod("dnspolicy", "dns_policy", "DNS policy."),
    _pod("dns_config", "dns_config", "DNS configuration."),
    _pod("hostname", "hostname", "Hostname of the pod."),
    _pod("subdomain", "subdomain", "Subdomain of the pod."),
    _pod("pod_template_file", "template", "File with a Pod in YAML, below everything else."),
    _pod("pod_template_dict", "template", "The same as a mapping."),
    _pod("full_pod_spec", "full_spec", "A whole V1Pod: over the template, under the other parameters."),
    _pod("init_containers", "init_containers", "Init containers."),
    _pod(
        "base_container_name",
        "container_name",
        "Name of the main container; None takes the class's BASE_CONTAINER_NAME.",
    ),
    _pod(
        "termination_message_policy",
        "termination_message_policy",
        "File or FallbackToLogsOnError.",
        default="File",
    ),
    _pod(
        "active_deadline_seconds",
        "active_deadline_seconds",
        "Seconds after which the kubelet ends the pod.",
        zero_counts=True,
    ),
    _pod(
        "termination_grace_period",
        "termination_grace_period_seconds",
        "Seconds between TERM and KILL; also when the task is killed.",
        zero_counts=True,
    ),
    _pod("do_xcom_push", "result", "Read /airflow/xcom/return.json from the pod and push it.", default=False),
)

_CLUSTER: Final = (
    Parameter(
        "kubernetes_conn_id",
        "cluster",
        "Connection of type Kubernetes; `kubernetes_default` need not exist. None: no connection is asked.",
        default="kubernetes_default",
        none_counts=True,
    ),
    Parameter(
        "in_cluster", "cluster", "Use the service account of the pod Airflow runs in.", zero_counts=True
    ),
    Parameter(
        "config_file", "cluster", "Path of a kubeconfig, on the machine that runs the task (the triggerer)."
    ),
    Parameter("cluster_context", "cluster", "Context of the kubeconfig; else its current one."),
)

_PLAN: Final = (
    Parameter(
        "startup_timeout_seconds",
        "plan",
        "From a node's yes to the main container's start, without the time of init containers.",
        default=120,
    ),
    Parameter(
        "schedule_timeout_seconds",
        "plan",
        "Waiting for a node with room; None is ten minutes (upstream: `startup_timeout_seconds`).",
    ),
    Parameter(
        "on_finish_action",
        "plan",
        "delete_pod, delete_succeeded_pod, delete_active_pod or keep_pod.",
        default="delete_pod",
    ),
    Parameter(
        "on_kill_action", "plan", "delete_pod or keep_pod, when somebody ends the task.", default="delete_pod"
    ),
    Parameter(
        "durable", "plan", "A new try takes over a pod of an earlier try that still runs; None is yes."
    ),
    Parameter("reattach_on_restart", "plan", "Older name of `durable`, which wins."),
)

_LOG: Final = (
    Parameter("get_logs", "log", "Show the containers' logs in the task's log.", default=True),
    Parameter(
        "container_logs",
        "log",
        "Containers whose logs are shown: names, one name, or True for all; None is the main one.",
    ),
    Parameter("init_container_logs", "log", "The same for init containers; None is none."),
    Parameter(
        "container_name_log_prefix_enabled", "log", "Begin each line with `[container] `.", default=True
    ),
    Parameter(
        "log_formatter",
        "log",
        "Function of container and line that makes the line; keeps the task on a worker.",
        code=True,
    ),
    Parameter(
        "log_pod_spec_on_failure",
        "log",
        "Show the pod's manifest, also of a good run (values of variables and a function's arguments left out).",
        default=True,
    ),
    Parameter(
        "log_events_on_failure",
        "log",
        "Show container states and events on failure. A failure is explained with both in any case.",
        default=False,
    ),
    Parameter("log_events_on_startup", "log", "Say in the log what the pod waits for.", default=True),
)

_TASK: Final = (
    Parameter(
        "deferrable",
        "task",
        "None: wherever it costs least (docs/operator.md). True: not on a worker. False: on a worker from start to end.",
    ),
    Parameter("skip_on_exit_code", "task", "Exit code, or codes, that mean: skipped.", zero_counts=True),
    Parameter(
        "callbacks", "task", "KubernetesPodOperatorCallback classes; keep the task on a worker.", code=True
    ),
    Parameter(
        "progress_callback",
        "task",
        "Function called with each log line; keeps the task on a worker.",
        code=True,
    ),
    Parameter(
        "trigger_kwargs",
        "task",
        "Accepted and rendered. Without effect: there is no trigger of upstream's to give them to.",
    ),
)

_NO_EFFECT: Final = (
    Parameter("is_delete_operator_pod", "none", "Without effect, as upstream. Use `on_finish_action`."),
    Parameter("startup_check_interval_seconds", "none", "Nothing is polled.", default=5),
    Parameter("base_container_status_polling_interval", "none", "Nothing is polled.", default=1),
    Parameter("poll_interval", "none", "Nothing is polled.", default=2),
    Parameter("logging_interval", "none", "Logs are shown as they are written."),
)

_OURS: Final = (
    Parameter(
        "result_transport",
        "plan",
        "How the result leaves the pod: sidecar or termination_message; None is the deployment's.",
        ours=True,
    ),
    Parameter(
        "idempotent",
        "plan",
        "The task may be run again after it has begun, when its node is lost.",
        default=False,
        ours=True,
    ),
    Parameter(
        "infrastructure_retries",
        "plan",
        "Pods that may replace one lost to the infrastructure within a try.",
        default=3,
        zero_counts=True,
        ours=True,
    ),
    Parameter(
        "overflow_kubernetes_conn_id",
        "cluster",
        "Connection of another cluster, to which the task goes when this one has no room; its pod here is gone before.",
        ours=True,
    ),
    Parameter(
        "overflow_after_seconds",
        "plan",
        "How long it waits for room here first: for quota, a scheduling gate, a node.",
        default=OVERFLOW_SECONDS,
        zero_counts=True,
        ours=True,
    ),
    Parameter(
        "hold_on_failure",
        "plan",
        "A timedelta, at most 7 days: how long the pod of a failed try stays for inspection. None: it does not.",
        ours=True,
    ),
    Parameter(
        "env_secrets",
        "pod",
        "Variables out of Secrets: name to `secret/key`, or names of keys of the Secret `env-secrets`.",
        "secrets",
        ours=True,
    ),
    Parameter(
        "lend_connections",
        "plan",
        "Airflow connections for this pod alone: `my_db` is `AIRFLOW_CONN_MY_DB` (JSON) in the main container.",
        ours=True,
    ),
    Parameter(
        "lend_variables",
        "plan",
        "Airflow variables for this pod alone: `key` is `AIRFLOW_VAR_KEY` in the main container.",
        ours=True,
    ),
)

PARAMETERS: Final[Mapping[str, Parameter]] = {
    row.name: row for row in (*_POD, *_CLUSTER, *_PLAN, *_LOG, *_TASK, *_NO_EFFECT, *_OURS)
}
OURS: Final = tuple(row.name for row in _OURS)

TEMPLATE_FIELDS: Final = (
    "image",
    "name",
    "hostname",
    "cmds",
    "annotations",
    "arguments",
    "env_vars",
    "labels",
    "config_file",
    "pod_template_file",
    "pod_template_dict",
    "namespace",
    "container_resources",
    "volumes",
    "volume_mounts",
    "cluster_context",
    "env_from",
    "configmaps",
    "node_selector",
    "kubernetes_conn_id",
    "base_container_name",
    "trigger_kwargs",
)
"""Upstream's, in its order."""


def template_fields_of(operator: Any) -> tuple[str, ...]:
    """The parameters that are templates, of an operator, a mapped one or a class: subclasses have more of them, or fewer."""
    names = getattr(operator, "template_fields", TEMPLATE_FIELDS)
    return tuple(name for name in PARAMETERS if name in names)


def parameters_of(part: Part) -> Iterator[Parameter]:
    """The rows of one part, in the table's order."""
    return (row for row in PARAMETERS.values() if row.part == part)
