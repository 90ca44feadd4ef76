"""The kinds that the embedded API server serves, one module a kind, each with its declarations."""

from __future__ import annotations

from podbay.apiserver.registry import ResourceType

__all__ = ["all_resource_types"]


def all_resource_types() -> tuple[ResourceType, ...]:
    """Every kind, in the order in which discovery lists them within their group."""
    # Imported here: quota and admission use modules of this package, and some kinds use quota.
    from podbay.apiserver.kinds import (
        configmap,
        event,
        lease,
        limitrange,
        metrics,
        namespace,
        networkpolicy,
        node,
        persistentvolume,
        persistentvolumeclaim,
        pod,
        priorityclass,
        rbac,
        resourcequota,
        reviews,
        runtimeclass,
        secret,
        service,
        serviceaccount,
        validatingadmissionpolicy,
        validatingadmissionpolicybinding,
    )

    return (
        configmap.CONFIG_MAP,
        *event.RESOURCE_TYPES,
        *limitrange.RESOURCE_TYPES,
        namespace.NAMESPACE,
        node.NODE,
        persistentvolumeclaim.PERSISTENT_VOLUME_CLAIM,
        persistentvolume.PERSISTENT_VOLUME,
        *pod.RESOURCE_TYPES,
        *resourcequota.RESOURCE_TYPES,
        secret.SECRET,
        serviceaccount.SERVICE_ACCOUNT,
        service.SERVICE,
        *reviews.RESOURCE_TYPES,
        lease.LEASE,
        networkpolicy.NETWORK_POLICY,
        runtimeclass.RUNTIME_CLASS,
        *rbac.RESOURCE_TYPES,
        priorityclass.PRIORITY_CLASS,
        validatingadmissionpolicy.VALIDATING_ADMISSION_POLICY,
        validatingadmissionpolicybinding.VALIDATING_ADMISSION_POLICY_BINDING,
        *metrics.RESOURCE_TYPES,
    )
