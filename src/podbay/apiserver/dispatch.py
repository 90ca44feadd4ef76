"""From a request to a verb: authorisation, the routes, and the two shapes of 404 and 405.

Source: k8s.io/apiserver/pkg/endpoints/installer.go for which routes exist.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from podbay.apiserver import bodies, status
from podbay.apiserver.auth.impersonate import impersonate
from podbay.apiserver.negotiate import check_route_accept, negotiate_output, patch_type
from podbay.apiserver.patch.options import invalid_options, validate_patch_options, validate_write_options
from podbay.apiserver.registry import ResourceType, Subresource
from podbay.apiserver.request import Request, RequestInfo, parse_request_info
from podbay.apiserver.result import MeasuredResult, ObjectResult, PlainResult, StreamResult, VerbResult
from podbay.apiserver.verbs.collection import delete_collection
from podbay.apiserver.verbs.connect import connection_options
from podbay.apiserver.verbs.context import Target, WriteContext
from podbay.apiserver.verbs.create import create_object
from podbay.apiserver.verbs.delete import delete_object
from podbay.apiserver.verbs.options import WriteOptions, manager_of, selection_of, write_options
from podbay.apiserver.verbs.patch import PatchRequest, patch_object
from podbay.apiserver.verbs.read import get_object, list_objects, predicate_for, watch_objects
from podbay.apiserver.verbs.update import replace_object
from podbay.apiserver.wire.log_options import check_log_request

if TYPE_CHECKING:
    from podbay.apiserver.core import Core
    from podbay.objects.api import PatchType

__all__ = ["Dispatcher"]

PlainHandler = Callable[[Request], VerbResult]

_COLLECTION_VERBS = frozenset({"list", "watch", "create", "deletecollection"})
_STREAM_METHODS = {
    "log": ("GET",),
    "exec": ("GET", "POST"),
    "attach": ("GET", "POST"),
    "portforward": ("GET", "POST"),
}


class Dispatcher:
    """Answers requests whose user is known. Raises ApiError for every refusal.

    `plain` serves paths that are not resources (/version, /openapi/…), longest prefix first.
    """

    def __init__(self, core: Core, plain: Callable[[Request], VerbResult | None]) -> None:
        self._core = core
        self._plain = plain

    def handle(self, request: Request) -> VerbResult:
        info = parse_request_info(request)
        authorizer = self._core.authorizer
        request.user = impersonate(request.user, request.headers, info, authorizer)
        authorizer.require(request.user, info)
        if not info.is_resource:
            return self._plain(request) or not_found_page()
        resource = self._core.registry.find(info.group, info.version, info.resource)
        if resource is None:
            if any((info.group, info.version) == gv for gv in self._core.registry.groups()):
                raise status.resource_not_found()
            return not_found_page()
        if len(info.parts) > (4 if info.subresource == "proxy" else 3):
            raise status.resource_not_found()
        return self._resource(request, info, resource)

    def _resource(self, request: Request, info: RequestInfo, resource: ResourceType) -> VerbResult:
        _check_scope(info, resource)
        _check_accept(request, info)
        if info.subresource:
            subresource = resource.subresource(info.subresource)
            if subresource is None:
                raise status.resource_not_found()
            return self._subresource(request, info, resource, subresource)
        verb = info.verb
        # The deprecated /watch/ prefix is the one collection verb that may carry a name.
        collection = verb in _COLLECTION_VERBS and not (verb == "watch" and info.name)
        if verb not in resource.verbs or collection != (not info.name):
            raise status.generic(405)
        namespace = info.namespace if resource.namespaced else ""
        if resource.measured:
            selection = selection_of(request, info)
            predicate = predicate_for(resource, selection.label_selector, selection.field_selector)
            return MeasuredResult(resource, namespace or None, info.name, predicate)
        if verb == "get":
            return get_object(self._core, resource, namespace, info.name)
        if verb in ("list", "watch"):
            return self._read_many(request, info, resource)
        return self._write(request, info, resource, None)

    def _read_many(self, request: Request, info: RequestInfo, resource: ResourceType) -> VerbResult:
        selection = selection_of(request, info)
        scope = (info.namespace or None) if resource.namespaced else None
        if info.verb == "watch":
            return watch_objects(resource, scope, selection)
        return list_objects(self._core, resource, scope, selection)

    def _subresource(
        self, request: Request, info: RequestInfo, resource: ResourceType, sub: Subresource
    ) -> VerbResult:
        namespace = info.namespace if resource.namespaced else ""
        if sub.strategy is None and sub.handler is None:
            if request.method not in _STREAM_METHODS.get(sub.name, ()):
                raise status.generic(405)
            if sub.name == "log":
                check_log_request(request, info.name)
            else:
                # A WebSocket is opened with GET, which RBAC sees as `get`; running things takes `create` all the
                # same (pkg/registry/core/pod/rest/authorize.go, AuthorizePodWebsocketUpgradeCreatePermission).
                self._require_create(request, info, resource)
            pod = get_object(self._core, resource, namespace, info.name).object()
            if sub.name != "log":
                self._admit_connection(request, info, resource, sub)
            return StreamResult(sub.name, pod)
        if info.verb not in sub.verbs:
            raise status.generic(405)
        if info.verb == "get":
            return get_object(self._core, resource, namespace, info.name)
        return self._write(request, info, resource, sub)

    def _admit_connection(
        self, request: Request, info: RequestInfo, resource: ResourceType, sub: Subresource
    ) -> None:
        """Exec, attach and port-forward are operations that policies may refuse."""
        attributes = self._context(request, info, resource).attributes(
            "CONNECT", resource, connection_options(request, sub.kind)
        )
        self._core.admission.validate(attributes, self._core.reader)

    def _require_create(self, request: Request, info: RequestInfo, resource: ResourceType) -> None:
        """Whoever came with another verb must hold `create` as well."""
        if info.verb == "create":
            return
        decision = self._core.authorizer.authorize(request.user, replace(info, verb="create"))
        if not decision.allowed:
            raise status.forbidden(resource.group_resource, info.name, decision.reason)

    def _write(
        self, request: Request, info: RequestInfo, resource: ResourceType, sub: Subresource | None
    ) -> VerbResult:
        core, verb = self._core, info.verb
        ctx = self._context(request, info, resource)
        if verb in ("delete", "deletecollection"):
            return self._delete(request, info, resource, ctx)
        options = write_options(request)
        kind = patch_type(request.headers.get("content-type", "")) if verb == "patch" else None
        _check_options(options, verb, kind)
        ctx.dry_run = bool(options.dry_run)
        ctx.manager = manager_of(request, options)
        ctx.require_create = partial(self._require_create, request, info, resource)
        strictness: Any = options.field_validation or "Warn"
        handler = sub.handler if sub is not None else resource.handler
        if handler is not None:
            obj = bodies.decode_body(
                core, request, resource, sub, strictness=strictness, warnings=ctx.warnings
            )
            if sub is not None:
                core.admission.validate(ctx.attributes("CREATE", resource, obj), core.reader)
            answer = handler(core, info, ctx.strategy(), obj)
            return ObjectResult(201, obj=answer, warnings=ctx.warnings)
        target = Target(resource, sub)
        if verb == "patch":
            assert kind is not None
            patch = PatchRequest(kind, request.body, strictness, options.force or False)
            return patch_object(core, target, patch, ctx)
        obj = bodies.decode_body(core, request, resource, None, strictness=strictness, warnings=ctx.warnings)
        if verb == "create":
            return create_object(core, resource, obj, ctx)
        return replace_object(core, target, obj, ctx)

    def _delete(
        self, request: Request, info: RequestInfo, resource: ResourceType, ctx: WriteContext
    ) -> VerbResult:
        options: dict[str, Any] = bodies.delete_options(self._core, request)
        ctx.dry_run = bool(options.get("dryRun"))
        if info.verb == "delete":
            if problem := resource.strategy.undeletable(info.name):
                raise status.forbidden(resource.group_resource, info.name, problem)
            return delete_object(self._core, resource, options, ctx)
        selection = selection_of(request, info)
        return delete_collection(self._core, resource, selection, options, ctx)

    def _context(self, request: Request, info: RequestInfo, resource: ResourceType) -> WriteContext:
        return WriteContext(
            user=request.user,
            now=self._core.now(),
            namespace=info.namespace if resource.namespaced else "",
            name=info.name,
            subresource=info.subresource,
        )


def _check_scope(info: RequestInfo, resource: ResourceType) -> None:
    """Namespaced kinds have collection reads without a namespace, cluster kinds have nothing below one."""
    if resource.namespaced:
        if info.namespace:
            return
        if info.name or info.subresource:
            raise status.resource_not_found()
        if info.verb not in ("list", "watch"):
            raise status.generic(405)
    elif info.namespace and resource.kind != "Namespace":
        raise status.resource_not_found()


_OPTION_KINDS = {"create": "CreateOptions", "update": "UpdateOptions", "patch": "PatchOptions"}


def _check_options(options: WriteOptions, verb: str, kind: PatchType | None) -> None:
    if kind is None:
        errors = validate_write_options(options)
    else:
        errors = validate_patch_options(options, apply=kind == "apply")
    if errors:
        raise invalid_options(_OPTION_KINDS[verb], errors)


def _check_accept(request: Request, info: RequestInfo) -> None:
    """Refuse before anything happens what could not be answered afterwards."""
    accept = request.headers.get("accept", "")
    if not accept or info.subresource in _STREAM_METHODS:
        return
    check_route_accept(
        accept,
        method=request.method,
        listing=request.method == "GET" and not info.name,
        has_body=bool(request.body),
    )
    if info.verb != "watch":
        negotiate_output(accept)


def not_found_page() -> PlainResult:
    """What Go's mux says of a path that nothing serves."""
    return PlainResult(b"404 page not found\n", status=404)
