"""Group, version and resource: how the Kubernetes API names collections, and the URLs that follow.

Not for the declaration of what the embedded API server serves (apiserver/registry.py).
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["GVR", "GroupResource"]


@dataclass(frozen=True, slots=True)
class GroupResource:
    """A resource without its version; prints as the API's messages do ("pods", "roles.rbac.authorization.k8s.io")."""

    group: str
    resource: str

    def __str__(self) -> str:
        return f"{self.resource}.{self.group}" if self.group else self.resource


@dataclass(frozen=True, slots=True)
class GVR:
    """Group, version, resource: one collection of the API."""

    group: str
    version: str
    resource: str

    @property
    def api_version(self) -> str:
        """What objects of this collection carry in `apiVersion`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def group_resource(self) -> GroupResource:
        return GroupResource(self.group, self.resource)

    def path(
        self, namespace: str | None = None, name: str | None = None, subresource: str | None = None
    ) -> str:
        """The URL path of the collection, of one object, or of a subresource of it."""
        parts = ["/apis", self.group, self.version] if self.group else ["/api", self.version]
        if namespace:
            parts += ["namespaces", namespace]
        parts.append(self.resource)
        if name is not None:
            parts.append(name)
        if subresource:
            parts.append(subresource)
        return "/".join(parts)
