"""What every write carries along: who, where, when, as which field manager, for real or as a dry run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from podbay.apiserver.admission.base import Attributes
from podbay.apiserver.registry import ResourceType, StrategyContext, Subresource
from podbay.apiserver.request import User
from podbay.objects.meta import Object

__all__ = ["WriteContext", "rfc3339"]


def rfc3339(moment: datetime) -> str:
    """A metav1.Time: UTC, whole seconds."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(slots=True, kw_only=True)
class WriteContext:
    """One write on its way to the store. `warnings` collects the texts of `Warning:` headers."""

    user: User
    now: datetime
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    manager: str = ""
    dry_run: bool = False
    warnings: list[str] = field(default_factory=list)
    require_create: Callable[[], None] | None = None
    """Raises the 403 of a user who may not create; for a PUT or apply that turns out to make its object."""

    @property
    def timestamp(self) -> str:
        return rfc3339(self.now)

    def strategy(self) -> StrategyContext:
        return StrategyContext(self.now, self.user, self.namespace, self.subresource, self.dry_run)

    def attributes(
        self,
        operation: str,
        resource: ResourceType,
        obj: Object | None,
        old: Object | None = None,
    ) -> Attributes:
        return Attributes(
            operation=operation,  # type: ignore[arg-type]
            resource=resource,
            namespace=self.namespace,
            name=self.name,
            user=self.user,
            now=self.now,
            obj=obj,
            old=old,
            subresource=self.subresource,
            dry_run=self.dry_run,
            warnings=self.warnings,
        )


@dataclass(frozen=True, slots=True)
class Target:
    """The endpoint a write goes to: the resource itself or one of its views (status)."""

    type: ResourceType
    subresource: Subresource | None = None
