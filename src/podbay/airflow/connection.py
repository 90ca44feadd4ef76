"""Which cluster a task means: the operator's parameters, the Airflow connection, the surroundings. Reads kubeconfigs.

The fields and their order are upstream's (hooks/kubernetes.py, KubernetesHook.get_conn); what is wrong is said with the
connection's name. Pure but for reading the kubeconfig and the pod's service account, or in a private Airflow (`podbay run`,
`podbay up`) the run's kubeconfig in its place.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeAlias

from podbay.aws import place as eks
from podbay.aws.place import EksPlace
from podbay.errors import InvalidInputError
from podbay.gke import place as gke
from podbay.gke.place import GkePlace
from podbay.kube.config import ClusterConfig
from podbay.kube.kubeconfig import in_cluster, load_kubeconfig, parse_kubeconfig
from podbay.kube.places import read_place
from podbay.pods.request import SidecarOptions

__all__ = [
    "DEFAULT_CONNECTION",
    "OLD_PREFIX",
    "RUN_KUBECONFIG",
    "CloudPlace",
    "ClusterChoice",
    "choose_cluster",
    "cloud_place",
]

CloudPlace: TypeAlias = EksPlace | GkePlace

DEFAULT_CONNECTION: Final = "kubernetes_default"
"""The only connection that may be missing (spec 13)."""

RUN_KUBECONFIG: Final = "PODBAY_RUN_KUBECONFIG"
"""Set in a private Airflow, which is in no pod: the path of what `in_cluster` means there."""
OLD_PREFIX: Final = "extra__kubernetes__"
_PATH: Final = "kube_config_path (or config_file)"


@dataclass(frozen=True, kw_only=True)
class ClusterChoice:
    """The cluster, and what the connection wants for pods on it."""

    config: ClusterConfig
    in_cluster: bool
    namespace: str
    """For pods that name none."""
    sidecar: SidecarOptions = field(default_factory=SidecarOptions)


class _Extras:
    """A connection's extra fields, with the prefix of old connections or without."""

    def __init__(self, name: str, values: Mapping[str, Any]) -> None:
        self.name = name
        self._values = values

    def get(self, field_name: str) -> Any:
        if field_name in self._values:
            return self._values[field_name] or None
        return self._values.get(OLD_PREFIX + field_name) or None

    def flag(self, field_name: str) -> bool | None:
        value = self.get(field_name)
        if isinstance(value, str):
            lowered = value.strip().lower()
            if lowered not in ("true", "false"):
                raise self.wrong(field_name, "must be true or false")
            return lowered == "true"
        return None if value is None else bool(value)

    def mapping(self, field_name: str) -> Mapping[str, Any] | None:
        value = self.get(field_name)
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except ValueError:
                raise self.wrong(field_name, "must be a JSON object") from None
        if value is not None and not isinstance(value, Mapping):
            raise self.wrong(field_name, "must be a JSON object")
        return value

    def wrong(self, field_name: str, problem: str) -> InvalidInputError:
        return InvalidInputError(f"connection {self.name}: {field_name}: {problem}")


def cloud_place(
    given: Mapping[str, Any], extras: Mapping[str, Any], *, connection: str | None
) -> CloudPlace | None:
    """The cluster of EKS or GKE that is meant, whose configuration `choose_cluster` then needs; None for any other.

    Raises InvalidInputError as `choose_cluster` does.
    """
    found = _Extras(connection or "(none)", extras)
    for name, value in _source(given, found).items():
        if name == eks.FIELD:
            return read_place(EksPlace, value, field=name, connection=found.name)
        if name == gke.FIELD:
            return read_place(GkePlace, value, field=name, connection=found.name)
    return None


def choose_cluster(
    given: Mapping[str, Any],
    extras: Mapping[str, Any],
    *,
    connection: str | None,
    cloud: ClusterConfig | None = None,
) -> ClusterChoice:
    """The cluster. `given` holds rendered parameters, `extras` the connection's extra fields, `cloud` what AWS
    or Google have told.

    Raises InvalidInputError for what contradicts itself or cannot be read.
    """
    found = _Extras(connection or "(none)", extras)
    config, inside = _config(given, found, cloud)
    if found.flag("disable_verify_ssl"):
        config = replace(config, insecure=True, ca_pem="", ca_path=None)
    return ClusterChoice(
        config=config,
        in_cluster=inside,
        namespace=found.get("namespace") or _own_namespace() or config.namespace,
        sidecar=SidecarOptions(
            image=found.get("xcom_sidecar_container_image"),
            resources=found.mapping("xcom_sidecar_container_resources"),
            security_context=found.mapping("xcom_sidecar_container_security_context"),
        ),
    )


def _source(given: Mapping[str, Any], extras: _Extras) -> dict[str, Any]:
    """What says which cluster is meant: one thing, or nothing."""
    chosen = {
        "in_cluster": _first(given.get("in_cluster"), extras.flag("in_cluster")),
        _PATH: _first(given.get("config_file"), extras.get("kube_config_path")),
        "kube_config": extras.get("kube_config"),
        eks.FIELD: extras.get(eks.FIELD),
        gke.FIELD: extras.get(gke.FIELD),
    }
    found = {name: value for name, value in chosen.items() if value}
    if "in_cluster" in found and found.get(_PATH) == os.environ.get(RUN_KUBECONFIG):
        # Both are the cluster of the run.
        found.pop(_PATH, None)
    if len(found) > 1:
        hint = (
            ". Set in_cluster=False in the task to mean the connection's cluster"
            if "in_cluster" in found and given.get("in_cluster")
            else ""
        )
        raise extras.wrong(" and ".join(found), f"only one of them can say which cluster is meant{hint}")
    return found


def _config(
    given: Mapping[str, Any], extras: _Extras, cloud: ClusterConfig | None
) -> tuple[ClusterConfig, bool]:
    context = _first(given.get("cluster_context"), extras.get("cluster_context"))
    for name, value in _source(given, extras).items():
        if name == "in_cluster":
            return _inside(), True
        if name == "kube_config":
            return parse_kubeconfig(value, context=context, origin=f"kube_config of {extras.name}"), False
        if name in (eks.FIELD, gke.FIELD):
            return _cloud(context, extras, cloud), False
        return load_kubeconfig(value, context=context), False
    return _default(_first(given.get("in_cluster"), extras.flag("in_cluster")), context)


def _cloud(context: str | None, extras: _Extras, config: ClusterConfig | None) -> ClusterConfig:
    assert config is not None, "cloud_place says that it is needed"
    # As the clouds' own programs name contexts, so that DAGs written for their kubeconfigs go on to work.
    short = config.context.rpartition("/" if config.context.startswith("arn:") else "_")[2]
    names = (config.context, short)
    if context and context not in names:
        raise extras.wrong("cluster_context", f"{context!r} is another cluster; this one is {config.context}")
    return config


def _default(inside: bool | None, context: str | None) -> tuple[ClusterConfig, bool]:
    """As the official clients: the pod's own service account, else the user's kubeconfig."""
    if inside is None and RUN_KUBECONFIG not in os.environ:
        try:
            return in_cluster(), True
        except InvalidInputError:
            pass
    return load_kubeconfig(context=context), False


def _inside() -> ClusterConfig:
    kubeconfig = os.environ.get(RUN_KUBECONFIG)
    return load_kubeconfig(kubeconfig) if kubeconfig else in_cluster()


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _own_namespace() -> str:
    if RUN_KUBECONFIG in os.environ:
        # A pod around a private Airflow is not of the run's cluster.
        return ""
    path = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
    return path.read_text().strip() if path.is_file() else ""
