"""The admission plugins of an API server, in the order in which kube-apiserver runs its default ones.

Source: pkg/kubeapiserver/options/plugins.go. Left out: plugins for resources that are not served (certificates,
storage classes, ingresses), webhooks and mutating policies; they would stand between RuntimeClass and ResourceQuota,
where the validating policies stand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from podbay.apiserver.admission.base import AdmissionPlugin, Attributes, ClusterReader
from podbay.apiserver.admission.default_tolerations import DefaultTolerationSeconds
from podbay.apiserver.admission.limit_ranger import LimitRanger
from podbay.apiserver.admission.namespace_lifecycle import NamespaceLifecycle
from podbay.apiserver.admission.node_taint import TaintNodesByCondition
from podbay.apiserver.admission.pod_security import PodSecurity
from podbay.apiserver.admission.priority import Priority
from podbay.apiserver.admission.resource_quota import ResourceQuota
from podbay.apiserver.admission.runtime_class import RuntimeClass
from podbay.apiserver.admission.service_account import ServiceAccount, random_suffix
from podbay.apiserver.admission.storage_protection import StorageObjectInUseProtection

__all__ = ["AdmissionChain", "default_plugins"]


def default_plugins(
    *, suffix: Callable[[], str] = random_suffix, before_quota: Iterable[AdmissionPlugin] = ()
) -> tuple[AdmissionPlugin, ...]:
    """The plugins in their order.

    suffix makes the random end of token volume names; before_quota are further plugins (policies), which run
    after all others except the quota.
    """
    return (
        NamespaceLifecycle(),
        LimitRanger(),
        ServiceAccount(suffix),
        TaintNodesByCondition(),
        PodSecurity(),
        Priority(),
        DefaultTolerationSeconds(),
        StorageObjectInUseProtection(),
        RuntimeClass(),
        *before_quota,
        ResourceQuota(),
    )


class AdmissionChain:
    """Asks every plugin in turn; the first refusal (an ApiError) ends the request."""

    def __init__(self, plugins: Iterable[AdmissionPlugin]) -> None:
        self._plugins = tuple(plugins)

    def admit(self, attributes: Attributes, reader: ClusterReader) -> None:
        """Let the plugins change attributes.obj before the kind's strategy sees it."""
        for plugin in self._plugins:
            plugin.admit(attributes, reader)

    def validate(self, attributes: Attributes, reader: ClusterReader) -> None:
        """Let the plugins judge the final object. A quota that admits it is charged."""
        for plugin in self._plugins:
            plugin.validate(attributes, reader)
