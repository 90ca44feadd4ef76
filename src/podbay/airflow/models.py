"""Manifests as the official client's V1Pod and back, for hooks and callbacks that take one.

That client costs 50 MB: import this only where such code exists.
"""

from __future__ import annotations

from typing import Any

from kubernetes.client import ApiClient, V1Pod

from podbay.objects.meta import Object

__all__ = ["manifest_of", "model_of"]

_client: Any = ApiClient()


def model_of(pod: Object) -> Any:
    """A V1Pod. The client's public way takes an HTTP answer, and another one in each version."""
    return _client._ApiClient__deserialize_model(pod, V1Pod)


def manifest_of(model: Any) -> Object:
    found: Object = _client.sanitize_for_serialization(model)
    return found
