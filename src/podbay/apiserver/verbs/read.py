"""GET and LIST, and what a watch needs before it may start: selectors and list options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from podbay.apiserver import status
from podbay.apiserver.registry import ResourceType
from podbay.apiserver.result import ListResult, ObjectResult, WatchResult
from podbay.apiserver.verbs.options import Selection
from podbay.objects.selectors import FieldSelector, LabelSelector

if TYPE_CHECKING:
    from podbay.apiserver.core import Core
    from podbay.apiserver.storage import Predicate

__all__ = ["get_object", "list_objects", "predicate_for", "watch_objects"]


def get_object(core: Core, resource: ResourceType, namespace: str, name: str) -> ObjectResult:
    entry = core.store.get(resource.key, namespace, name)
    if entry is None:
        raise status.not_found(resource.group_resource, name)
    return ObjectResult(200, entry=entry, type=resource)


def list_objects(
    core: Core, resource: ResourceType, namespace: str | None, selection: Selection
) -> ListResult:
    options = selection.storage
    page = core.store.list(
        resource.key,
        namespace,
        predicate=predicate_for(resource, selection.label_selector, selection.field_selector),
        name=_only_name(selection.field_selector) if namespace or not resource.namespaced else None,
        resource_version=options.resource_version,
        resource_version_match=options.resource_version_match,
        limit=options.limit,
        continue_token=options.continue_token,
    )
    return ListResult(resource, page)


def watch_objects(resource: ResourceType, namespace: str | None, selection: Selection) -> WatchResult:
    # Both selectors are checked here, so that a bad one is an answer and not an event.
    predicate = predicate_for(resource, selection.label_selector, selection.field_selector)
    name = _only_name(selection.field_selector)
    return WatchResult(resource, namespace, name, predicate, selection.storage, selection.timeout_seconds)


def _only_name(field_selector: str) -> str | None:
    """The one name that a selector can match, so that the store need not look at all others."""
    if "metadata.name" not in field_selector:
        return None
    return FieldSelector.parse(field_selector).exact("metadata.name")


def predicate_for(resource: ResourceType, labels: str, fields: str) -> Predicate | None:
    """One function for both selectors; None when everything is selected. Raises ApiError 400."""
    label_selector = _labels(labels)
    field_selector = _fields(resource, fields)
    if label_selector is None and field_selector is None:
        return None

    def selected(object_labels: Mapping[str, str], object_fields: Mapping[str, str]) -> bool:
        if label_selector is not None and not label_selector.matches(object_labels):
            return False
        return field_selector is None or field_selector.matches(object_fields)

    return selected


def _labels(text: str) -> LabelSelector | None:
    if not text:
        return None
    try:
        return LabelSelector.parse(text)
    except ValueError as err:
        raise status.bad_request(str(err)) from err


def _fields(resource: ResourceType, text: str) -> FieldSelector | None:
    if not text:
        return None
    try:
        selector = FieldSelector.parse(text)
    except ValueError as err:
        raise status.bad_request(str(err)) from err
    for requirement in selector.requirements:
        name = requirement.field
        if name in ("metadata.name", "metadata.namespace") or name in resource.fields:
            continue
        if resource.fields:
            raise status.bad_request(f"field label not supported: {name}")
        raise status.bad_request(
            f'"{name}" is not a known field selector: only "metadata.name", "metadata.namespace"'
        )
    return selector if selector.requirements else None
