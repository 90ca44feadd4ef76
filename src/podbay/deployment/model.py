"""What podbay.yaml says, as values. Reading and checking: reading.py and consistency.py; the names of fields: format.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from podbay.lifecycle.plan import Keep
from podbay.objects.quantity import Quantity

__all__ = [
    "ENV_SECRETS",
    "RESOURCES",
    "AdmissionPolicy",
    "AirflowSettings",
    "Deployment",
    "NetworkRules",
    "PodRules",
    "PodSize",
    "Prices",
    "Queue",
    "QuotaRules",
    "Requests",
    "SecurityLevel",
    "canonical",
]

ENV_SECRETS: Final = "env-secrets"
"""The Secret that holds a deployment's secret variables; the name is Astro's (spec 68), so DAGs need no change."""
RESOURCES: Final[Mapping[str, str]] = {
    "cpu": "cpu",
    "memory": "memory",
    "ephemeral_storage": "ephemeral-storage",
}
"""Field names of sizes to Kubernetes' resource names."""

Requests: TypeAlias = Literal["follow-limits", "as-given"]
"""Whether requests below a limit are raised to it (spec 35) or stay."""
SecurityLevel: TypeAlias = Literal["privileged", "baseline", "restricted"]
"""The Pod Security Standard that the namespace enforces."""
AdmissionPolicy: TypeAlias = Literal["deny", "warn", "off"]
"""What the cluster does with a pod that breaks a rule which LimitRange and ResourceQuota cannot express."""


def canonical(quantity: Quantity) -> str:
    """The quantity as an API server prints it after storing ("0.25" becomes "250m")."""
    return str(Quantity(quantity.nanos, quantity.form))


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSize:
    """CPU in cores, memory and ephemeral storage in bytes; None says nothing about that resource."""

    cpu: Quantity | None = None
    memory: Quantity | None = None
    ephemeral_storage: Quantity | None = None

    def quantities(self) -> dict[str, Quantity]:
        """Kubernetes' resource name to quantity, of what is said."""
        given = {kubernetes: getattr(self, name) for name, kubernetes in RESOURCES.items()}
        return {name: value for name, value in given.items() if value is not None}

    def to_json(self) -> dict[str, str]:
        """As a ResourceList."""
        return {name: canonical(value) for name, value in self.quantities().items()}


def _size(cpu: str, memory: str, storage: str) -> PodSize:
    return PodSize(
        cpu=Quantity.parse(cpu), memory=Quantity.parse(memory), ephemeral_storage=Quantity.parse(storage)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PodRules:
    """What holds for every task pod."""

    default: PodSize = field(default_factory=lambda: _size("250m", "512Mi", "256Mi"))
    """Of a container that says nothing itself; the figures are Astro's (spec 29, 40)."""
    maximum: PodSize = field(default_factory=lambda: _size("43", "86Gi", "100Gi"))
    """Of a whole pod (spec 37, 40)."""
    requests: Requests = "follow-limits"
    memory_per_cpu: Quantity | None = None
    """Exactly this memory for each CPU, in `default` and in the quota (spec 30: 2Gi). None: not checked."""
    architectures: tuple[str, ...] = ()
    """Values of kubernetes.io/arch that pods may run on; none: any."""
    service_account: str = ""
    """Of pods that name none. Empty: `<namespace>-kpo` (spec 76)."""
    service_account_annotations: Mapping[str, str] = field(default_factory=dict)
    """On that service account: by them a cloud knows which of its roles the pods have (workload identity)."""
    allowed_service_accounts: tuple[str, ...] = ()
    """Besides `service_account`."""
    persistent_volumes: bool = False
    """Whether pods may use PersistentVolumeClaims (spec 43)."""
    protected_labels: Mapping[str, str] = field(default_factory=dict)
    """Labels that every task pod has, whatever DAGs and mutation hooks say."""
    priority_class: str = ""
    """Of pods that name none."""
    pull_secrets: tuple[str, ...] = ()
    """Secrets of type kubernetes.io/dockerconfigjson in the namespace, for every pod."""
    pull_secrets_by_image: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Others of them for pods with an image of the pattern that is the key."""
    keep: Keep = "never"
    """Which finished pods stay."""
    keep_for: int = 24 * 3600
    """Seconds that a kept pod stays at most."""
    security: SecurityLevel = "baseline"
    retry_memory_factor: float = 1.0
    """After a try that was killed for its memory the next one gets so many times as much (raising.py); 1: as much."""

    @property
    def all_pull_secrets(self) -> tuple[str, ...]:
        """Those of every pod, then those of pods with certain images, each once."""
        by_image = (name for names in self.pull_secrets_by_image.values() for name in names)
        return tuple(dict.fromkeys((*self.pull_secrets, *by_image)))


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaRules:
    """Ceiling on the sum over all task pods that have not ended (spec 32); None: no ceiling."""

    cpu: Quantity | None = None
    memory: Quantity | None = None
    pods: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """Where the pods of one Airflow queue run."""

    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: Sequence[Mapping[str, Any]] = ()
    """Tolerations in the API's words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkRules:
    """NetworkPolicies of the namespace; they take effect where the cluster's network plugin enforces them."""

    ingress: Literal["allow", "deny"] = "allow"
    egress: Literal["allow", "deny"] = "allow"
    egress_to: tuple[str, ...] = ()
    """CIDRs that stay reachable when egress is denied; cluster DNS always is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What requested resources cost, for reports of usage."""

    cpu_hour: float = 0.0
    memory_gib_hour: float = 0.0
    currency: str = "USD"


@dataclass(frozen=True, slots=True, kw_only=True)
class AirflowSettings:
    """The Airflow that launches the pods."""

    service_accounts: tuple[tuple[str, str], ...] = ()
    """(namespace, name) of the service accounts that its workers and triggerer run as; they may launch pods."""
    in_namespace: bool = False
    """Airflow's own pods run in the deployment's namespace as well. The quota then counts task pods by their priority
    class, and rules for task pods do not hold for Airflow's service accounts."""
    take_over_upstream: bool = False
    """Tasks of the upstream operator run on Podbay's engine (design D3b)."""
    lending: bool = False
    """Those who launch pods may make Secrets, for connections and variables that tasks lend to their pods."""
    usage_every: int = 0
    """Seconds between two looks at what pods use, for which those who launch pods may list their metrics; 0: never."""


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """One podbay.yaml. Its name is its identity within a cluster; everything it owns carries both names as labels."""

    name: str
    namespace: str = ""
    """Empty until one is generated (naming.py)."""
    cluster: str = ""
    """What `--cluster` takes: podbay (embedded), a context or file of a kubeconfig, current, in-cluster. Empty: podbay."""
    pods: PodRules = field(default_factory=PodRules)
    quota: QuotaRules = field(default_factory=QuotaRules)
    queues: Mapping[str, Queue] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    """Names of secret variables that should have a value in the Secret `env-secrets`."""
    images: Mapping[str, str] = field(default_factory=dict)
    """Alias to image. `airflow`, when not given, is the image that this Airflow runs in."""
    network: NetworkRules = field(default_factory=NetworkRules)
    prices: Prices = field(default_factory=Prices)
    airflow: AirflowSettings = field(default_factory=AirflowSettings)
    admission_policy: AdmissionPolicy = "deny"
    source: str = "podbay.yaml"
    """The file, for messages."""

    @property
    def service_account(self) -> str:
        """What pods run as that name no service account."""
        return self.pods.service_account or f"{self.namespace}-kpo"

    @property
    def service_accounts(self) -> tuple[str, ...]:
        """Every service account that a task pod may run as."""
        return tuple(dict.fromkeys((self.service_account, *self.pods.allowed_service_accounts)))

    @property
    def task_priority_class(self) -> str:
        """The priority class by which the quota tells task pods from Airflow's own; empty where it need not."""
        if self.pods.priority_class:
            return self.pods.priority_class
        return f"{self.namespace}-tasks" if self.airflow.in_namespace else ""
