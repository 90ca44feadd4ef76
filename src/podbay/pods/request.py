"""What is asked for: one task's pod, in the words of the Kubernetes API.

`PodRequest` holds every parameter that shapes a pod; each front end (operator, command line, trigger) translates its own
words into it and no other part looks at those. Three states are told apart everywhere: UNSET says nothing and leaves the
field to the template, None says "no value" and removes what a template says, anything else is the value.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from podbay.pods.identity import TaskIdentity

__all__ = ["UNSET", "Model", "PodDefaults", "PodRequest", "ResultTransport", "SidecarOptions", "Unset"]


class Unset(enum.Enum):
    """The type of UNSET: "nothing was said". Not None, which says "no value" and overrides a template."""

    UNSET = "UNSET"

    def __repr__(self) -> str:
        return "UNSET"

    def __bool__(self) -> bool:
        return False


UNSET: Final = Unset.UNSET

Model: TypeAlias = Any
"""A part of a pod: a mapping in the API's words, or an object of any Kubernetes client (V1Volume, …)."""

ResultTransport: TypeAlias = Literal["none", "sidecar", "termination_message"]
"""How a result leaves the pod: not at all; by the log of a native sidecar (any size up to its limit); or as the main
container's termination message (no second container, at most 4096 bytes)."""


@dataclass(frozen=True, kw_only=True)
class SidecarOptions:
    """The container that prints the result file when the main container has ended."""

    image: str | None = None
    """Any image with a POSIX shell, `cat`, `wc` and `sleep`. None: sidecar.DEFAULT_IMAGE."""
    image_pull_policy: str | None = None
    """None leaves it to Kubernetes: IfNotPresent for a fixed tag."""
    resources: Model | None = None
    """Requests and limits. None: sized so that the pod keeps the quality of service its main container asks for."""
    security_context: Model | None = None
    """SecurityContext. None: follows the main container's, so that it may read what that wrote."""
    max_result_bytes: int = 4 * 1024 * 1024
    """A larger result is refused by name instead of printed. 4 MiB: well below the 10 MiB at which a kubelet rotates a
    container's log by default, and more than an XCom should hold."""


@dataclass(frozen=True, kw_only=True)
class PodDefaults:
    """What a deployment says about all its pods: the lowest layer, and what is done to every finished pod."""

    template: Model | None = None
    """A pod below all others: default service account, tolerations, labels."""
    resources: Model | None = None
    """Requests and limits for a main container that says nothing about that resource itself (spec 28)."""
    raise_requests_to_limits: bool = False
    """Raise every container's requests to its limits, so that pods are Guaranteed and cost what they may use (spec 35).
    For pods in the deployment's own cluster only (spec 93)."""
    sidecar: SidecarOptions = field(default_factory=SidecarOptions)
    """The result sidecar where the request says nothing of its own."""


@dataclass(frozen=True, kw_only=True)
class PodRequest:
    """One pod to build. Every field may be UNSET, except those with a default that is itself the usual value."""

    # --- whose pod it is ---
    identity: TaskIdentity | None = None
    """The task try that the pod belongs to; gives name, labels and annotations. None: a pod outside of Airflow."""
    name: str | Unset = UNSET
    """The readable beginning of the pod's name; UNSET takes the template's, else the task's id. It must be the same
    each time the same try is built, or one try could have two pods."""
    name_suffix: str = ""
    """What follows the name of a pod without identity; the caller's chance, since there is none here."""
    exact_name: bool = False
    """Use the name as it is; without any, the task's id. Two tries then ask for the same pod and the second waits for
    nobody: it is refused."""
    namespace: str | Unset = UNSET
    """UNSET takes the template's, else `default_namespace`."""
    default_namespace: str | None = None
    """Where pods go if neither the request nor a template says: of the connection, or of the pod we run in (spec 14)."""
    labels: Mapping[str, str | None] | Unset = UNSET
    """Added to the template's by key; a label that Airflow writes wins over one of the same key (spec 19)."""
    annotations: Mapping[str, str | None] | Unset | None = UNSET
    """Added to the template's by key."""
    airflow_version: str | None = None
    """For the label of that name; None leaves it out."""
    in_cluster: bool | None = None
    """For the label airflow_kpo_in_cluster; None leaves it out (a rendering without a cluster)."""

    # --- the layers below these parameters ---
    template: Model | None = None
    """`pod_template_file` (after template.load_template) or `pod_template_dict`: the lowest of the three layers."""
    full_spec: Model | None = None
    """`full_pod_spec`: over the template, under the parameters."""

    # --- the main container ---
    container_name: str = "base"
    """The container that runs the task. In a template it is the one of that name, else the first, which is renamed."""
    image: str | Unset = UNSET
    command: Sequence[str] | Unset | None = UNSET
    """Replaces the image's ENTRYPOINT (upstream: cmds)."""
    args: Sequence[str] | Unset | None = UNSET
    """Replaces the image's CMD (upstream: arguments)."""
    ports: Sequence[Model] | Unset | None = UNSET
    env: Mapping[str, str] | Sequence[Model] | Unset | None = UNSET
    """Names to values, or EnvVars (upstream: env_vars, then pod_runtime_info_envs)."""
    env_from: Sequence[Model] | Unset | None = UNSET
    config_maps: Sequence[str] = ()
    """Names of ConfigMaps whose keys become environment variables; after env_from (upstream: configmaps)."""
    secrets: Sequence[Model] = ()
    """secrets.SecretReference, or objects like Airflow's Secret; never a secret's value."""
    volume_mounts: Sequence[Model] | Unset | None = UNSET
    image_pull_policy: str | Unset | None = UNSET
    resources: Model | Unset | None = UNSET
    """ResourceRequirements of the main container (upstream: container_resources)."""
    container_security_context: Model | Unset | None = UNSET
    termination_message_policy: str | Unset | None = UNSET

    # --- the pod ---
    init_containers: Sequence[Model] | Unset | None = UNSET
    volumes: Sequence[Model] | Unset | None = UNSET
    affinity: Model | Unset | None = UNSET
    node_selector: Mapping[str, str] | Unset | None = UNSET
    tolerations: Sequence[Model] | Unset | None = UNSET
    image_pull_secrets: str | Sequence[Model] | Unset | None = UNSET
    """References to Secrets in the pod's namespace; also names in one string, separated by commas."""
    service_account_name: str | Unset | None = UNSET
    automount_service_account_token: bool | Unset | None = UNSET
    host_network: bool | Unset | None = UNSET
    host_aliases: Sequence[Model] | Unset | None = UNSET
    security_context: Model | Unset | None = UNSET
    """PodSecurityContext."""
    dns_policy: str | Unset | None = UNSET
    dns_config: Model | Unset | None = UNSET
    hostname: str | Unset | None = UNSET
    subdomain: str | Unset | None = UNSET
    scheduler_name: str | Unset | None = UNSET
    runtime_class_name: str | Unset | None = UNSET
    priority_class_name: str | Unset | None = UNSET
    active_deadline_seconds: int | Unset | None = UNSET
    termination_grace_period_seconds: int | Unset | None = UNSET

    # --- the result ---
    result: ResultTransport = "none"
    """How /airflow/xcom/return.json leaves the pod (upstream: do_xcom_push)."""
    sidecar: SidecarOptions | Unset = UNSET
    """Of the result sidecar; UNSET takes the deployment's."""
