"""How an admission plugin says no: a 403 that names the object as far as it has a name yet.

Source: k8s.io/apiserver/pkg/admission/errors.go (NewForbidden, extractResourceName).
"""

from __future__ import annotations

from collections.abc import Sequence

from podbay.apiserver import status
from podbay.apiserver.admission.base import Attributes
from podbay.errors import ApiError

__all__ = ["forbidden", "join_messages", "request_name"]


def request_name(attributes: Attributes) -> str:
    """The name in the URL, else in the object, else its generateName, else "Unknown"."""
    if attributes.name:
        return attributes.name
    metadata = (attributes.obj or {}).get("metadata") or {}
    return metadata.get("name") or metadata.get("generateName") or "Unknown"


def forbidden(attributes: Attributes, message: str) -> ApiError:
    """The refusal of this request for the reason given."""
    return status.forbidden(attributes.resource.group_resource, request_name(attributes), message)


def join_messages(messages: Sequence[str]) -> str:
    """Several reasons as one (Go: utilerrors.NewAggregate): bare for one, bracketed for more, repeats dropped."""
    distinct = list(dict.fromkeys(messages))
    return distinct[0] if len(distinct) == 1 else f"[{', '.join(distinct)}]"
