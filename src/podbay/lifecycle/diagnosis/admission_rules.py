"""How the API server and its admission plugins word a refusal, and the categories of refusals."""

from __future__ import annotations

from typing import Final

from podbay.lifecycle.diagnosis import configuration, volumes
from podbay.lifecycle.diagnosis.category import Category, Rule, rule
from podbay.lifecycle.diagnosis.quota import QUOTA

__all__ = ["CATEGORIES", "RULES"]

QUOTA_WANTS: Final = Category(
    word="QuotaWantsResources",
    meaning="The namespace's ResourceQuota takes only pods that state requests or limits.",
    fix="Set the requests and limits that the evidence names in `resources`.",
    blame="user",
    heals="never",
)
LIMIT_RANGE: Final = Category(
    word="LimitRangeViolated",
    meaning="The pod's resources lie outside of what the namespace's LimitRange allows.",
    fix="Set `resources` within the bounds that the evidence names, or have the LimitRange changed.",
    blame="user",
    heals="never",
)
POD_SECURITY: Final = Category(
    word="PodSecurityViolated",
    meaning="The namespace's Pod Security Standard forbids something in the pod.",
    fix="Set what the evidence names in `securityContext`, or use another namespace.",
    blame="user",
    heals="never",
)
FORBIDDEN: Final = Category(
    word="Forbidden",
    meaning="The credentials in use lack a right (RBAC).",
    fix="Grant the right with a Role and RoleBinding in that namespace.",
    blame="platform",
    heals="never",
)
UNAUTHORIZED: Final = Category(
    word="Unauthorized",
    meaning="The API server does not accept the credentials.",
    fix="Renew the credentials (kubeconfig, token, `aws eks update-kubeconfig`); check that the clocks agree.",
    blame="platform",
    heals="maybe",
)
SERVICE_ACCOUNT: Final = Category(
    word="ServiceAccountMissing",
    meaning="The pod's service account does not exist in its namespace.",
    fix="Create the service account, or correct `serviceAccountName`.",
    blame="user",
    heals="never",
)
DEFAULT_ACCOUNT: Final = Category(
    word="NamespaceNotReady",
    meaning="The namespace is so new that its default service account is still being made.",
    fix="Wait a moment.",
    blame="infrastructure",
    heals="maybe",
)
PRIORITY: Final = Category(
    word="PriorityClassMissing",
    meaning="The pod's PriorityClass does not exist.",
    fix="Correct `priorityClassName`; `kubectl get priorityclasses` shows what there is.",
    blame="user",
    heals="never",
)
RUNTIME_CLASS: Final = Category(
    word="RuntimeClassMissing",
    meaning="The pod's RuntimeClass does not exist.",
    fix="Correct `runtimeClassName`; `kubectl get runtimeclasses` shows what there is.",
    blame="user",
    heals="never",
)
NAMESPACE: Final = Category(
    word="NamespaceMissing",
    meaning="The namespace does not exist.",
    fix="Create the namespace, or correct `namespace`.",
    blame="user",
    heals="never",
)
TERMINATING: Final = Category(
    word="NamespaceTerminating",
    meaning="The namespace is being deleted and takes nothing new.",
    fix="Use another namespace, or create it again when it is gone.",
    blame="platform",
    heals="never",
)
WEBHOOK: Final = Category(
    word="AdmissionWebhookDenied",
    meaning="An admission webhook of the cluster refused the pod.",
    fix="Do what its message asks for, or ask those who run that webhook.",
    blame="user",
    heals="never",
)
WEBHOOK_DOWN: Final = Category(
    word="AdmissionWebhookUnreachable",
    meaning="An admission webhook of the cluster does not answer, and the cluster takes no pods without it.",
    fix="Have the webhook's service repaired, or its failurePolicy set to Ignore.",
    blame="platform",
    heals="maybe",
)
POLICY: Final = Category(
    word="AdmissionPolicyDenied",
    meaning="A ValidatingAdmissionPolicy of the cluster refused the pod.",
    fix="Do what its message asks for, or ask those who wrote the policy.",
    blame="user",
    heals="never",
)
INVALID: Final = Category(
    word="InvalidPod",
    meaning="The manifest breaks a rule of Kubernetes; the fields are named.",
    fix="Correct the fields that the evidence names.",
    blame="user",
    heals="never",
)
NAME_TAKEN: Final = Category(
    word="NameTaken",
    meaning="A pod of that name exists already and belongs to something else.",
    fix="Give the pod another name, or delete the other one.",
    blame="user",
    heals="never",
)
STILL_ENDING: Final = Category(
    word="NameStillTaken",
    meaning="A pod of that name is being deleted and not gone yet.",
    fix="Wait until it is gone.",
    blame="infrastructure",
    heals="maybe",
)
CONFLICT: Final = Category(
    word="Conflict",
    meaning="The pod was changed by somebody else between reading and writing it.",
    fix="Try again.",
    blame="infrastructure",
    heals="maybe",
)
TOO_LARGE: Final = Category(
    word="RequestTooLarge",
    meaning="The pod's manifest is larger than the API server or its storage takes (about 1.5 MiB).",
    fix="Take large data out of `env`, `args` and annotations; put it into a ConfigMap, a volume or the image.",
    blame="user",
    heals="never",
)
GONE: Final = Category(
    word="PodGone",
    meaning="The pod does not exist (any more).",
    fix="Find out who deletes pods here; the cluster's audit log tells.",
    blame="platform",
    heals="never",
)
BUSY: Final = Category(
    word="ApiServerBusy",
    meaning="The API server answers 429: too many requests.",
    fix="Wait; fewer clients or requests help, or a larger control plane.",
    blame="platform",
    heals="maybe",
)
SERVER_ERROR: Final = Category(
    word="ApiServerError",
    meaning="The API server failed, is starting, or cannot reach its storage (5xx).",
    fix="Wait; if it stays so, have the control plane looked at.",
    blame="infrastructure",
    heals="maybe",
)
STORAGE_FULL: Final = Category(
    word="ApiStorageFull",
    meaning="The API server's storage is full and takes nothing new.",
    fix="Have etcd compacted and its alarm disarmed; delete what is not needed.",
    blame="platform",
    heals="maybe",
)
NOT_OURS: Final = Category(
    word="NotAnApiServer",
    meaning="What answers at the server's address does not know pods: a proxy, a login page, another product.",
    fix="Correct `server` in the kubeconfig.",
    blame="platform",
    heals="never",
)
REFUSED: Final = Category(
    word="Refused",
    meaning="The API server refused the request, in words that are not known here.",
    fix="Read the evidence; it is the API server's own message.",
    blame="user",
    heals="never",
)

CATEGORIES: Final = (
    QUOTA_WANTS, LIMIT_RANGE, POD_SECURITY, FORBIDDEN, UNAUTHORIZED, SERVICE_ACCOUNT, DEFAULT_ACCOUNT, PRIORITY,
    RUNTIME_CLASS, NAMESPACE, TERMINATING, WEBHOOK, WEBHOOK_DOWN, POLICY, INVALID, NAME_TAKEN, STILL_ENDING, CONFLICT,
    TOO_LARGE, GONE, BUSY, SERVER_ERROR, STORAGE_FULL, NOT_OURS, REFUSED,
)  # fmt: skip

RULES: Final[tuple[Rule, ...]] = (
    rule(
        WEBHOOK_DOWN,
        r"failed calling webhook \"(?P<name>[^\"]+)\"",
        'Admission webhook "{name}" did not answer, and the cluster takes no pods without it',
    ),
    rule(
        WEBHOOK,
        r"admission webhook \"(?P<name>[^\"]+)\" denied the request(?: without explanation)?:? ?(?P<why>.*)",
        'Admission webhook "{name}" refused {pod}: {why}',
    ),
    rule(
        POLICY,
        r"ValidatingAdmissionPolicy '(?P<name>[^']+)' with binding '(?P<binding>[^']+)' denied request: ?(?P<why>.*)",
        'Admission policy "{name}" refused {pod}: {why}',
    ),
    rule(
        POD_SECURITY,
        r"violates PodSecurity \"(?P<level>[^\"]+)\": ?(?P<why>.*)",
        'Namespace {namespace} takes only pods of Pod Security level "{level}", and {pod} is none: {why}',
    ),
    rule(
        QUOTA,
        r"exceeded quota: (?P<name>[^,]+), requested: (?P<requested>\S+), used: (?P<used>\S+), limited: (?P<limited>\S+)",
        'Quota "{name}" of namespace {namespace} has no room for {pod}: it asks for {requested}, {used} of {limited} is used',
    ),
    rule(
        QUOTA_WANTS,
        r"failed quota: (?P<name>[^:]+): must specify (?P<what>.+)",
        'Quota "{name}" of namespace {namespace} takes only pods that state {what}',
        "Set {what} in `resources`.",
    ),
    rule(
        LIMIT_RANGE,
        r"forbidden: \[?(?P<why>(?:maximum|minimum) \S+ usage per \w+ is .+|\S+ max limit to request ratio per \w+ is .+)",
        "The LimitRange of namespace {namespace} does not allow the resources of {pod}: {why}",
    ),
    rule(
        SERVICE_ACCOUNT,
        r"error looking up service account (?P<where>[^/\s]+)/(?!default:)(?P<name>[^:\s]+)",
        'There is no service account "{name}" in namespace {where}, as which {pod} is to run',
    ),
    rule(
        DEFAULT_ACCOUNT,
        r"error looking up service account (?P<where>[^/\s]+)/default:|no API token found for service account",
        "The default service account of namespace {namespace} is not there yet",
    ),
    rule(
        PRIORITY,
        r"no PriorityClass with name (?P<name>\S+) was found",
        'There is no PriorityClass "{name}", which {pod} asks for',
    ),
    rule(
        RUNTIME_CLASS,
        r"RuntimeClass \"(?P<name>[^\"]+)\" not found",
        'There is no RuntimeClass "{name}", which {pod} asks for',
    ),
    rule(
        TERMINATING,
        r"in namespace (?P<name>\S+) because it is being terminated",
        "Namespace {name} is being deleted and takes no pods",
    ),
    rule(NAMESPACE, r"namespaces \"(?P<name>[^\"]+)\" not found", "There is no namespace {name}"),
    rule(
        FORBIDDEN,
        r"User \"(?P<user>[^\"]+)\" cannot (?P<verb>\S+) resource \"(?P<resource>[^\"]+)\" .*at the cluster scope",
        'User "{user}" may not {verb} {resource} in the cluster as a whole',
        'Grant verb "{verb}" on "{resource}" to "{user}" with a ClusterRole and ClusterRoleBinding.',
    ),
    rule(
        FORBIDDEN,
        r"User \"(?P<user>[^\"]+)\" cannot (?P<verb>\S+) resource \"(?P<resource>[^\"]+)\" in API group \"(?P<group>[^\"]*)\""
        r" in the namespace \"(?P<where>[^\"]+)\"",
        'User "{user}" may not {verb} {resource} in namespace {where}',
        'Grant verb "{verb}" on "{resource}" to "{user}" with a Role and RoleBinding in namespace {where}.',
    ),
    rule(
        STILL_ENDING,
        r"object is being deleted: pods \"(?P<name>[^\"]+)\" already exists",
        "A pod called {name} is being deleted and not gone yet",
    ),
    rule(
        STORAGE_FULL,
        r"mvcc: database space exceeded|database or disk is full",
        "The API server's storage is full, so {pod} cannot be stored",
    ),
    rule(
        TOO_LARGE,
        r"request entity too large|request is too large|larger than max|limit is \d+",
        "The manifest of {pod} is larger than the API server takes",
    ),
    # Refusals at admission about what the pod refers to.
    rule(
        volumes.CLAIM_MISSING,
        r"persistentvolumeclaim \"(?P<name>[^\"]+)\" not found",
        'There is no PersistentVolumeClaim "{name}" in namespace {namespace}, and {pod} needs it',
    ),
    rule(
        configuration.SECRET,
        r"secrets? \"(?P<name>[^\"]+)\" not found",
        'There is no Secret "{name}" in namespace {namespace}, and {pod} needs it',
    ),
)
