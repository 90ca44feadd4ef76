"""The roles and bindings that every Kubernetes cluster starts with, as objects.

As far as the kinds that are served make sense of them: node, scheduler and controller-manager identities,
discovery, the user-facing admin/edit/view. The roles of single controllers are left out, since the embedded
controllers act with the server's own rights. Source: kubernetes plugin/pkg/auth/authorizer/rbac/bootstrappolicy.
"""

from __future__ import annotations

import copy
from typing import Any

from podbay.apiserver.auth.aggregate import aggregate
from podbay.apiserver.auth.authorize import RBAC_GROUP
from podbay.objects.meta import Object, name_of

__all__ = ["bootstrap_objects"]

_READ = "get list watch"
_WRITE = "create update patch delete deletecollection"
_READ_WRITE = f"{_READ} {_WRITE}"
_READ_UPDATE = f"{_READ} update patch"
_AUTHENTICATION, _AUTHORIZATION = "authentication.k8s.io", "authorization.k8s.io"
_CERTIFICATES, _COORDINATION, _DISCOVERY = "certificates.k8s.io", "coordination.k8s.io", "discovery.k8s.io"
_EVENTS, _NETWORKING, _STORAGE = "events.k8s.io", "networking.k8s.io", "storage.k8s.io"
_APPS_SCALABLE = (
    "daemonsets deployments deployments/scale replicasets replicasets/scale statefulsets statefulsets/scale"
)
_EXTENSIONS = "daemonsets deployments deployments/scale ingresses networkpolicies replicasets replicasets/scale replicationcontrollers/scale"

_Rule = dict[str, list[str]]


def _rule(verbs: str, groups: str, resources: str, names: str = "") -> _Rule:
    """A resource rule from words; the group "core" stands for the empty one."""
    rule = {
        "apiGroups": sorted("" if group == "core" else group for group in groups.split()),
        "resources": sorted(resources.split()),
        "verbs": sorted(verbs.split()),
    }
    return {**rule, "resourceNames": sorted(names.split())} if names else rule


def _urls(verbs: str, urls: str) -> _Rule:
    return {"nonResourceURLs": sorted(urls.split()), "verbs": verbs.split()}


def _events() -> _Rule:
    return _rule("create update patch", f"core {_EVENTS}", "events")


def _lease(name: str) -> list[_Rule]:
    """What leader election needs."""
    return [
        _rule("create", _COORDINATION, "leases"),
        _rule("get update", _COORDINATION, "leases", name),
    ]


_REVIEWS = [
    _rule("create", _AUTHENTICATION, "tokenreviews"),
    _rule("create", _AUTHORIZATION, "subjectaccessreviews"),
]

_VIEW = [
    _rule(
        _READ,
        "core",
        "configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods replicationcontrollers "
        "replicationcontrollers/scale serviceaccounts services services/status",
    ),
    _rule(
        _READ,
        "core",
        "bindings events limitranges namespaces/status pods/log pods/status replicationcontrollers/status "
        "resourcequotas resourcequotas/status",
    ),
    _rule(_READ, "core", "namespaces"),
    _rule(_READ, _DISCOVERY, "endpointslices"),
    _rule(
        _READ,
        "apps",
        f"{_APPS_SCALABLE} controllerrevisions daemonsets/status deployments/status replicasets/status statefulsets/status",
    ),
    _rule(_READ, "autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status"),
    _rule(_READ, "batch", "cronjobs cronjobs/status jobs jobs/status"),
    _rule(
        _READ,
        "extensions",
        f"{_EXTENSIONS} daemonsets/status deployments/status ingresses/status replicasets/status",
    ),
    _rule(_READ, "policy", "poddisruptionbudgets poddisruptionbudgets/status"),
    _rule(_READ, _NETWORKING, "ingresses ingresses/status networkpolicies"),
]

_EDIT = [
    _rule(_READ, "core", "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy"),
    _rule("impersonate", "core", "serviceaccounts"),
    _rule(_WRITE, "core", "pods pods/attach pods/exec pods/portforward pods/proxy"),
    _rule("create", "core", "pods/eviction"),
    _rule(
        _WRITE,
        "core",
        "configmaps events persistentvolumeclaims replicationcontrollers replicationcontrollers/scale secrets "
        "serviceaccounts services services/proxy",
    ),
    _rule("create", "core", "serviceaccounts/token"),
    _rule(_WRITE, "apps", f"{_APPS_SCALABLE} deployments/rollback"),
    _rule(_WRITE, "autoscaling", "horizontalpodautoscalers"),
    _rule(_WRITE, "batch", "cronjobs jobs"),
    _rule(_WRITE, "extensions", f"{_EXTENSIONS} deployments/rollback"),
    _rule(_WRITE, "policy", "poddisruptionbudgets"),
    _rule(_WRITE, _NETWORKING, "ingresses networkpolicies"),
    _rule(_READ_WRITE, _COORDINATION, "leases"),
]

_ADMIN = [
    _rule("create", _AUTHORIZATION, "localsubjectaccessreviews"),
    _rule(_READ_WRITE, RBAC_GROUP, "rolebindings roles"),
]

_NODE = [
    _rule("create", _AUTHENTICATION, "tokenreviews"),
    _rule("create", _AUTHORIZATION, "localsubjectaccessreviews subjectaccessreviews"),
    _rule(_READ, "core", "services"),
    _rule(f"create {_READ}", "core", "nodes"),
    _rule("update patch", "core", "nodes/status"),
    _rule("update patch", "core", "nodes"),
    _rule("create update patch", "core", "events"),
    _rule(_READ, "core", "pods"),
    _rule("create delete", "core", "pods"),
    _rule("update patch", "core", "pods/status"),
    _rule("create", "core", "pods/eviction"),
    _rule(_READ, "core", "configmaps secrets"),
    _rule("get", "core", "persistentvolumeclaims persistentvolumes"),
    _rule("get", "core", "endpoints"),
    _rule(f"create {_READ}", _CERTIFICATES, "certificatesigningrequests"),
    _rule("get create update patch delete", _COORDINATION, "leases"),
    _rule("get", _STORAGE, "volumeattachments"),
    _rule("get update patch", "core", "persistentvolumeclaims/status"),
    _rule("create", "core", "serviceaccounts/token"),
    _rule(_READ, _STORAGE, "csidrivers"),
    _rule("get create update patch delete", _STORAGE, "csinodes"),
    _rule(_READ, "node.k8s.io", "runtimeclasses"),
]

_SCHEDULER = [
    _events(),
    *_lease("kube-scheduler"),
    _rule(_READ, "core", "nodes"),
    _rule(f"{_READ} delete", "core", "pods"),
    _rule("create", "core", "bindings pods/binding"),
    _rule("update patch", "core", "pods/status"),
    _rule(_READ, "core", "replicationcontrollers services"),
    _rule(_READ, "apps extensions", "replicasets"),
    _rule(_READ, "apps", "statefulsets"),
    _rule(_READ, "policy", "poddisruptionbudgets"),
    _rule(_READ_UPDATE, "core", "persistentvolumeclaims persistentvolumes"),
    *_REVIEWS,
    _rule(_READ, _STORAGE, "csinodes"),
    _rule(_READ, "core", "namespaces"),
    _rule(_READ, _STORAGE, "csidrivers"),
    _rule(_READ, _STORAGE, "csistoragecapacities"),
    _rule(_READ, _STORAGE, "volumeattachments"),
]

_CONTROLLER_MANAGER = [
    _events(),
    *_lease("kube-controller-manager"),
    _rule("create", "core", "secrets serviceaccounts"),
    _rule("delete", "core", "secrets"),
    _rule("get", "core", "configmaps namespaces secrets serviceaccounts"),
    _rule("update", "core", "secrets serviceaccounts"),
    *_REVIEWS,
    _rule("list watch", "*", "*"),
    _rule("create", "core", "serviceaccounts/token"),
]

_HEALTH = "/healthz /livez /readyz"

_CLUSTER_ROLES: dict[str, list[_Rule]] = {
    "cluster-admin": [_rule("*", "*", "*"), _urls("*", "*")],
    "system:aggregate-to-admin": _ADMIN,
    "system:aggregate-to-edit": _EDIT,
    "system:aggregate-to-view": _VIEW,
    "system:auth-delegator": _REVIEWS,
    "system:basic-user": [
        _rule("create", _AUTHORIZATION, "selfsubjectaccessreviews selfsubjectrulesreviews"),
        _rule("create", _AUTHENTICATION, "selfsubjectreviews"),
    ],
    "system:discovery": [
        _urls("get", f"/api /api/* /apis /apis/* {_HEALTH} /openapi /openapi/* /version /version/"),
    ],
    "system:kube-controller-manager": _CONTROLLER_MANAGER,
    "system:kube-dns": [_rule("list watch", "core", "endpoints services")],
    "system:kube-scheduler": _SCHEDULER,
    "system:kubelet-api-admin": [
        _rule(_READ, "core", "nodes"),
        _rule("proxy", "core", "nodes"),
        _rule("*", "core", "nodes/log nodes/metrics nodes/proxy nodes/stats"),
    ],
    "system:monitoring": [
        _urls("get", "/healthz /healthz/* /livez /livez/* /metrics /metrics/slis /readyz /readyz/*")
    ],
    "system:node": _NODE,
    "system:node-problem-detector": [
        _rule("get", "core", "nodes"),
        _rule("patch", "core", "nodes/status"),
        _events(),
    ],
    "system:node-proxier": [
        _rule("list watch", "core", "endpoints services"),
        _rule(_READ, "core", "nodes"),
        _events(),
        _rule("list watch", _DISCOVERY, "endpointslices"),
    ],
    "system:persistent-volume-provisioner": [
        _rule(f"{_READ} create delete", "core", "persistentvolumes"),
        _rule(f"{_READ} update", "core", "persistentvolumeclaims"),
        _rule(_READ, _STORAGE, "storageclasses"),
        _rule("watch", "core", "events"),
        _events(),
    ],
    "system:public-info-viewer": [_urls("get", f"{_HEALTH} /version /version/")],
    "system:service-account-issuer-discovery": [
        _urls("get", "/.well-known/openid-configuration /openid/v1/jwks")
    ],
    "system:volume-scheduler": [
        _rule(_READ_UPDATE, "core", "persistentvolumes"),
        _rule(_READ, _STORAGE, "storageclasses"),
        _rule(_READ_UPDATE, "core", "persistentvolumeclaims"),
    ],
}

_METRICS_READER = "system:aggregated-metrics-reader"
"""The role that metrics-server's manifests bring along, so that whoever may view may see use."""

_AGGREGATED = {"admin": "", "edit": "admin", "view": "edit"}
"""Aggregated role -> the aggregated role that takes it in as well."""

_CLUSTER_BINDINGS = {
    "cluster-admin": "Group/system:masters",
    "system:basic-user": "Group/system:authenticated",
    "system:discovery": "Group/system:authenticated",
    "system:kube-controller-manager": "User/system:kube-controller-manager",
    "system:kube-dns": "ServiceAccount/kube-system/kube-dns",
    "system:kube-scheduler": "User/system:kube-scheduler",
    "system:monitoring": "Group/system:monitoring",
    "system:node": "",
    "system:node-proxier": "User/system:kube-proxy",
    "system:public-info-viewer": "Group/system:authenticated Group/system:unauthenticated",
    "system:service-account-issuer-discovery": "Group/system:serviceaccounts",
    "system:volume-scheduler": "User/system:kube-scheduler",
}
"""Role (and name of its binding) -> subjects. system:node is bound to nobody: nodes are authorized by name."""

_KUBE_SYSTEM_ROLES = {
    "extension-apiserver-authentication-reader": [
        _rule(_READ, "core", "configmaps", "extension-apiserver-authentication")
    ],
    "system::leader-locking-kube-controller-manager": [
        _rule("watch", "core", "configmaps"),
        _rule("get update", "core", "configmaps", "kube-controller-manager"),
    ],
    "system::leader-locking-kube-scheduler": [
        _rule("watch", "core", "configmaps"),
        _rule("get update", "core", "configmaps", "kube-scheduler"),
    ],
}

_KUBE_SYSTEM_BINDINGS = {
    "system::extension-apiserver-authentication-reader": (
        "extension-apiserver-authentication-reader",
        "User/system:kube-controller-manager User/system:kube-scheduler",
    ),
    "system::leader-locking-kube-controller-manager": (
        "system::leader-locking-kube-controller-manager",
        "User/system:kube-controller-manager ServiceAccount/kube-system/kube-controller-manager",
    ),
    "system::leader-locking-kube-scheduler": (
        "system::leader-locking-kube-scheduler",
        "User/system:kube-scheduler ServiceAccount/kube-system/kube-scheduler",
    ),
}


def bootstrap_objects() -> list[Object]:
    """All default roles and bindings, aggregated roles filled in; the namespaced ones need kube-system to exist.

    A server creates those that are missing at each start, so that an older store gains new ones.
    """
    roles = [_role(name, rules) for name, rules in _CLUSTER_ROLES.items()] + [
        _aggregated_role(name, into) for name, into in _AGGREGATED.items()
    ]
    roles.append(_metrics_reader())
    filled = {name_of(role): role for role in aggregate(roles)}
    roles = [filled.get(name_of(role), role) for role in roles]
    bindings = [_binding(name, "", name, subjects) for name, subjects in _CLUSTER_BINDINGS.items()]
    for name, rules in _KUBE_SYSTEM_ROLES.items():
        roles.append(_object("Role", name, namespace="kube-system") | {"rules": rules})
    for name, (role, subjects) in _KUBE_SYSTEM_BINDINGS.items():
        bindings.append(_binding(name, "kube-system", role, subjects))
    return copy.deepcopy([*roles, *bindings])  # the tables above are shared between objects


def _metrics_reader() -> Object:
    labels = {f"{RBAC_GROUP}/aggregate-to-{role}": "true" for role in _AGGREGATED}
    rules = [_rule(_READ, "metrics.k8s.io", "nodes pods")]
    return _object("ClusterRole", _METRICS_READER, labels=labels) | {"rules": rules}


def _object(kind: str, name: str, *, namespace: str = "", labels: dict[str, str] | None = None) -> Object:
    metadata: dict[str, Any] = {
        "name": name,
        "labels": {"kubernetes.io/bootstrapping": "rbac-defaults", **(labels or {})},
        "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
    }
    if namespace:
        metadata["namespace"] = namespace
    return {"apiVersion": f"{RBAC_GROUP}/v1", "kind": kind, "metadata": metadata}


def _role(name: str, rules: list[_Rule]) -> Object:
    target = name.removeprefix("system:aggregate-to-")
    labels = {f"{RBAC_GROUP}/aggregate-to-{target}": "true"} if target != name else {}
    return _object("ClusterRole", name, labels=labels) | {"rules": rules}


def _aggregated_role(name: str, into: str) -> Object:
    labels = {f"{RBAC_GROUP}/aggregate-to-{into}": "true"} if into else {}
    selector = {"matchLabels": {f"{RBAC_GROUP}/aggregate-to-{name}": "true"}}
    role = _object("ClusterRole", name, labels=labels)
    return role | {"aggregationRule": {"clusterRoleSelectors": [selector]}, "rules": []}


def _binding(name: str, namespace: str, role: str, subjects: str) -> Object:
    kind, role_kind = ("RoleBinding", "Role") if namespace else ("ClusterRoleBinding", "ClusterRole")
    binding = _object(kind, name, namespace=namespace)
    binding["roleRef"] = {"apiGroup": RBAC_GROUP, "kind": role_kind, "name": role}
    if subjects:
        binding["subjects"] = [_subject(word) for word in subjects.split()]
    return binding


def _subject(word: str) -> dict[str, str]:
    kind, _, name = word.partition("/")
    if kind == "ServiceAccount":
        namespace, _, account = name.partition("/")
        return {"kind": kind, "name": account, "namespace": namespace}
    return {"apiGroup": RBAC_GROUP, "kind": kind, "name": name}
