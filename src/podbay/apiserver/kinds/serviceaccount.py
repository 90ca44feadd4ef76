"""ServiceAccount: an identity of pods. Tokens are issued through its `token` subresource.

Source: pkg/registry/core/serviceaccount, ValidateServiceAccount*.
"""

from __future__ import annotations

from podbay.apiserver.kinds.serviceaccount_token import TOKEN_SUBRESOURCE
from podbay.apiserver.registry import ResourceType, Strategy, StrategyContext
from podbay.apiserver.tables import AGE_COLUMN, NAME_COLUMN
from podbay.objects.meta import Object, annotations_of
from podbay.objects.resource import GVR

__all__ = ["RESOURCE_TYPES", "SERVICE_ACCOUNT"]

_MOUNTABLE_SECRETS = "kubernetes.io/enforce-mountable-secrets"


class ServiceAccountStrategy(Strategy):
    """References to secrets keep nothing but the name."""

    returns_deleted_object = True
    metadata_repeats = (1, 1)

    def prepare_for_create(self, obj: Object, ctx: StrategyContext) -> None:
        _clean_secret_references(obj)

    def prepare_for_update(self, obj: Object, old: Object, ctx: StrategyContext) -> None:
        _clean_secret_references(obj)

    def warnings_on_create(self, obj: Object, ctx: StrategyContext) -> list[str]:
        return _warnings(obj, {})

    def warnings_on_update(self, obj: Object, old: Object, ctx: StrategyContext) -> list[str]:
        return _warnings(obj, old)


def _clean_secret_references(obj: Object) -> None:
    if obj.get("secrets"):
        obj["secrets"] = [{k: v for k, v in s.items() if k == "name"} for s in obj["secrets"]]


def _warnings(obj: Object, old: Object) -> list[str]:
    if _MOUNTABLE_SECRETS not in annotations_of(obj) or _MOUNTABLE_SECRETS in annotations_of(old):
        return []
    return [
        f"metadata.annotations[{_MOUNTABLE_SECRETS}]: deprecated in v1.32+; "
        "prefer separate namespaces to isolate access to mounted secrets"
    ]


SERVICE_ACCOUNT = ResourceType(
    gvr=GVR("", "v1", "serviceaccounts"),
    kind="ServiceAccount",
    type_name="io.k8s.api.core.v1.ServiceAccount",
    namespaced=True,
    singular="serviceaccount",
    short_names=("sa",),
    strategy=ServiceAccountStrategy(),
    subresources=(TOKEN_SUBRESOURCE,),
    columns=(NAME_COLUMN, AGE_COLUMN),
)

RESOURCE_TYPES: tuple[ResourceType, ...] = (SERVICE_ACCOUNT,)
