"""Rendered parameters to a PodRequest, and to what the run's plan needs. Pure.

The table (parameters.py) says which parameter is which field; here are the few that are more than a new name.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from podbay.airflow.parameters import PARAMETERS, parameters_of
from podbay.errors import InvalidInputError
from podbay.lifecycle.plan import Deadlines, Keep
from podbay.objects.meta import Object
from podbay.pods.build import MAIN_CONTAINER_ANNOTATION
from podbay.pods.identity import TaskIdentity, as_label
from podbay.pods.request import UNSET, PodRequest, SidecarOptions
from podbay.pods.secrets import SecretReference

if TYPE_CHECKING:
    from podbay.deployment.model import PodRules

__all__ = [
    "BASE_CONTAINER",
    "Surroundings",
    "deadlines",
    "keep_of",
    "main_container_name",
    "pod_request",
    "retention",
    "skip_codes",
    "taken",
    "transport",
    "wanted_logs",
]

BASE_CONTAINER: Final = "base"
ENV_SECRETS: Final = "env-secrets"
"""The Secret that `env_secrets` means when it names keys alone (spec 72)."""

# Taken care of below, not copied.
_SPECIAL: Final = frozenset(
    [
        "random_name_suffix",
        "env_vars",
        "pod_runtime_info_envs",
        "secrets",
        "env_secrets",
        "pod_template_file",
        "pod_template_dict",
        "xcom_sidecar_container_security_context",
        "do_xcom_push",
        "base_container_name",
        "termination_message_policy",
    ]
)


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What comes from elsewhere than the parameters."""

    identity: TaskIdentity | None = None
    airflow_version: str | None = None
    in_cluster: bool | None = None
    default_namespace: str | None = None
    template: Object | None = None
    """The content of `pod_template_file`."""
    sidecar: SidecarOptions = field(default_factory=SidecarOptions)
    """The connection's wishes for the result sidecar."""
    transport: str = "sidecar"
    """The deployment's result transport."""


def pod_request(given: Mapping[str, Any], around: Surroundings) -> PodRequest:
    """The request for the pod. `given` holds rendered parameters by their names; missing ones have their default."""
    fields: dict[str, Any] = {}
    for row in parameters_of("pod"):
        if row.name in _SPECIAL or row.name not in given:
            continue
        value = given[row.name]
        if row.name == "configmaps":
            fields[row.target] = tuple(_strings(value or (), row.name))
        elif said(row.name, value):
            fields[row.target] = value
    exact = not given.get("random_name_suffix", True)
    if exact and isinstance(fields.get("name"), str):
        # As upstream, which leaves a template's name as it is.
        fields["name"] = as_label(fields["name"])
    template = around.template if around.template is not None else given.get("pod_template_dict") or None
    if given.get("termination_message_policy", "File") != "File":
        fields["termination_message_policy"] = given["termination_message_policy"]
    return PodRequest(
        **fields,
        identity=around.identity,
        exact_name=exact,
        default_namespace=around.default_namespace,
        airflow_version=around.airflow_version,
        in_cluster=around.in_cluster,
        template=template,
        container_name=main_container_name(given),
        env=_environment(given),
        secrets=(*(given.get("secrets") or ()), *_env_secrets(given.get("env_secrets"))),
        result=transport(given, around.transport),  # type: ignore[arg-type]
        sidecar=_sidecar(given, around.sidecar),
    )


def taken(name: str, value: Any) -> Any:
    """A parameter's value as it is kept: an iterator gives what it has once, and parameters are read many times."""
    if isinstance(value, Iterator) and not PARAMETERS[name].code:
        return list(value)
    if name == "skip_on_exit_code" and isinstance(value, Container) and not isinstance(value, Iterable):
        # Upstream only asks whether a code is in it; these are all there are.
        return [code for code in range(256) if code in value]
    return value


def said(name: str, value: Any) -> bool:
    """Whether a value says something: upstream takes whatever is false as nothing, except where False has a meaning."""
    return value is not None and (bool(value) or PARAMETERS[name].zero_counts)


def main_container_name(given: Mapping[str, Any]) -> str:
    return given.get("base_container_name") or BASE_CONTAINER


def transport(given: Mapping[str, Any], default: str) -> str:
    """How the result leaves the pod."""
    if not given.get("do_xcom_push"):
        return "none"
    return given.get("result_transport") or default


def _environment(given: Mapping[str, Any]) -> Any:
    value = given.get("env_vars") or []
    if isinstance(value, Mapping):
        value = [{"name": name, "value": each} for name, each in value.items()]
    if not isinstance(value, list | tuple):
        raise InvalidInputError(
            f"env_vars: must be a mapping of names to values or a list of EnvVars, not {type(value).__name__}"
        )
    found = [*value, *(given.get("pod_runtime_info_envs") or ())]
    return found or UNSET


def _env_secrets(value: Any) -> list[SecretReference]:
    if not value:
        return []
    if isinstance(value, Mapping):
        return [_env_secret(name, where) for name, where in value.items()]
    names = _strings(value, "env_secrets")
    return [
        SecretReference(deploy_type="env", deploy_target=name, secret=ENV_SECRETS, key=name) for name in names
    ]


def _env_secret(name: str, where: Any) -> SecretReference:
    secret, slash, key = where.partition("/") if isinstance(where, str) else ("", "", "")
    if not slash or not secret or not key:
        raise InvalidInputError(f"env_secrets[{name}]: must be SECRET/KEY")
    return SecretReference(deploy_type="env", deploy_target=name, secret=secret, key=key)


def _strings(value: Any, name: str) -> Sequence[str]:
    if isinstance(value, str) or not all(isinstance(each, str) for each in value):
        raise InvalidInputError(f"{name}: must be a list of strings")
    return tuple(value)


def _sidecar(given: Mapping[str, Any], wishes: SidecarOptions) -> SidecarOptions:
    own = given.get("xcom_sidecar_container_security_context")
    return replace(wishes, security_context=own) if own is not None else wishes


def deadlines(given: Mapping[str, Any], *, run: float | None) -> Deadlines:
    """Seconds. `run` is what is left of the task's execution_timeout."""
    usual = Deadlines()
    schedule = given.get("schedule_timeout_seconds")
    start = given.get("startup_timeout_seconds", PARAMETERS["startup_timeout_seconds"].default)
    return Deadlines(
        schedule=usual.schedule if schedule is None else float(schedule),
        start=usual.start if start is None else float(start),
        run=run,
    )


def keep_of(action: str) -> Keep:
    """delete_active_pod keeps what has ended; the pods that are still active are the kill's to delete."""
    actions: dict[str, Keep] = {
        "delete_pod": "never",
        "delete_succeeded_pod": "on_failure",
        "delete_active_pod": "always",
        "keep_pod": "always",
    }
    return actions[action]


def retention(given: Mapping[str, Any], rules: PodRules | None = None) -> tuple[Keep, float | None]:
    """Which pods stay, and for how many seconds; None is for good. `rules` of the deployment are for tasks that say nothing."""
    hold = given.get("hold_on_failure")
    if hold is not None:
        return "on_failure", hold.total_seconds()
    keep = keep_of(given.get("on_finish_action", "delete_pod"))
    if keep == "never" and rules is not None and rules.keep != "never":
        return rules.keep, float(rules.keep_for)
    return keep, None


def skip_codes(value: Any) -> frozenset[int]:
    """`skip_on_exit_code` as a set."""
    if value is None:
        return frozenset()
    return frozenset((value,)) if isinstance(value, int) else frozenset(value)


def wanted_logs(given: Mapping[str, Any], pod: Object) -> Callable[[str], bool]:
    """Which containers' logs belong into the task's log. `pod` is the manifest."""
    spec = pod.get("spec") or {}
    main = (pod["metadata"].get("annotations") or {}).get(MAIN_CONTAINER_ANNOTATION, BASE_CONTAINER)
    names = set()
    if given.get("get_logs", True):
        names |= _chosen(given.get("container_logs") or main, spec.get("containers"))
    names |= _chosen(given.get("init_container_logs"), spec.get("initContainers"))
    return names.__contains__


def _chosen(choice: Any, containers: Any) -> set[str]:
    if not choice:
        return set()
    if choice is True:
        return {each["name"] for each in containers or ()}
    return {choice} if isinstance(choice, str) else set(choice)
