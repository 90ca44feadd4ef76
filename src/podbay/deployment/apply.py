"""Carries out a plan by server-side apply: in order, one object after the other, safe to interrupt and to repeat.

The rules, in this order:
1. A plan with an obstacle (somebody else's object, fields others have changed) writes nothing at all.
2. The Namespace comes first and carries the revision of everything desired, with the version it was planned from. Two
   people who apply at once meet there: the second is told and has written nothing.
3. What the cluster refuses is reported, object by object, and the rest is applied all the same; but nobody is given the
   right to launch pods (RoleBinding) while a limit is missing.
4. What is no longer wanted goes last.
An apply that was cut off anywhere is finished by the next one: the plan is made from what is there.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

from podbay.deployment.difference import field_changes
from podbay.deployment.labels import FIELD_MANAGER, REVISION_ANNOTATION, ownership_labels
from podbay.deployment.observe import Reader
from podbay.deployment.parts import NAMESPACES, Collection, collection_of
from podbay.deployment.plan import Change, Plan
from podbay.errors import ApiError, ConflictError
from podbay.objects.api import PatchType
from podbay.objects.meta import Object, annotations_of, metadata_of, uid_of
from podbay.objects.resource import GVR

__all__ = ["Applied", "Done", "Writer", "apply_plan"]

Done: TypeAlias = Literal["created", "updated", "deleted", "released", "refused", "withheld"]
"""withheld: not tried, because what must come before was refused."""


class Writer(Reader, Protocol):
    """What of a client is needed to apply."""

    async def create(self, resource: GVR, obj: Object, *, namespace: str | None = None) -> Object: ...

    async def patch(
        self,
        resource: GVR,
        name: str,
        patch: Any,
        *,
        namespace: str | None = None,
        patch_type: PatchType = "merge",
        field_manager: str | None = None,
        force: bool = False,
    ) -> Object: ...

    async def delete(
        self,
        resource: GVR,
        name: str,
        *,
        namespace: str | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Object: ...


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of one change; `message` is the cluster's own word for a refusal."""

    change: Change
    done: Done
    message: str = ""


async def apply_plan(
    api: Writer, plan: Plan, *, told: Callable[[Applied], None] = lambda _: None
) -> list[Applied]:
    """Apply; `told` hears of each object as it is done. Refusals are in the result, not raised.

    Raises ConflictError for obstacles and for somebody who applied at the same time; what the network or the credentials
    say comes as it is, and then the next apply goes on from there.
    """
    if plan.obstacles:
        raise ConflictError("nothing was applied:\n" + "\n".join(f"  {each}" for each in plan.obstacles))
    results: list[Applied] = []
    unguarded = False
    for change in plan.work:
        collection = collection_of(change.desired or change.live or {})
        if unguarded and collection.grants and change.action != "delete":
            result = Applied(change, "withheld", "until every limit above stands")
        else:
            result = await _one(api, plan, change, collection)
        unguarded = unguarded or (collection.guards and result.done == "refused")
        results.append(result)
        told(result)
        if result.done == "refused" and collection.kind == "Namespace":
            break
    if plan.work:
        await _still_ours(api, plan, results)
    return results


async def _one(api: Writer, plan: Plan, change: Change, collection: Collection) -> Applied:
    try:
        if change.action == "delete":
            await _delete(api, plan, change, collection)
            return Applied(change, "deleted")
        if collection.kind == "Namespace" and change.action == "create":
            await _claim_namespace(api, plan, change)
        await _put(api, plan, change, collection)
        return Applied(change, "created" if change.action == "create" else "updated")
    except ApiError as err:
        if err.code == 401:
            raise
        return Applied(change, "refused", err.message)


async def _claim_namespace(api: Writer, plan: Plan, change: Change) -> None:
    """A create, which one of two people loses; an apply would let both believe that it is theirs."""
    name = change.key[1]
    # Only what no later apply changes: these fields stay with the create, whoever applies others.
    metadata = {"name": name, "labels": ownership_labels(plan.deployment)}
    bare = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
    try:
        await api.create(NAMESPACES, bare)
    except ApiError as err:
        if err.code == 409:
            raise ConflictError(
                f"namespace {name} was made by somebody else in this moment; nothing was applied. Plan again."
            ) from err
        raise


async def _put(api: Writer, plan: Plan, change: Change, collection: Collection) -> None:
    assert change.desired is not None
    live = change.live
    while True:
        try:
            await _patch(api, plan, change, collection, live)
            return
        except ApiError as err:
            if err.code != 409 or live is None:
                raise
            # The version may have moved for a harmless reason: the cluster counts a quota's usage all the time.
            live = await _unless_changed(api, plan, change, collection, err, live)


async def _patch(
    api: Writer, plan: Plan, change: Change, collection: Collection, live: Object | None
) -> None:
    body = copy.deepcopy(change.desired or {})
    if live is not None:
        metadata_of(body)["resourceVersion"] = metadata_of(live).get("resourceVersion")
    await api.patch(
        collection.resource,
        change.key[1],
        body,
        namespace=plan.deployment.namespace if collection.namespaced else None,
        patch_type="apply",
        field_manager=FIELD_MANAGER,
        force=change.force,
    )


async def _unless_changed(
    api: Writer, plan: Plan, change: Change, collection: Collection, err: ApiError, live: Object
) -> Object:
    """The object as it is now, if the plan still holds for it. Raises ConflictError when it does not."""
    namespace = plan.deployment.namespace if collection.namespaced else None
    now = await api.get(collection.resource, change.key[1], namespace=namespace)
    moved = metadata_of(now).get("resourceVersion") != metadata_of(live).get("resourceVersion")
    if not moved:
        raise err
    assert change.desired is not None
    if uid_of(now) == uid_of(live) and tuple(field_changes(change.desired, now)) == change.fields:
        return now
    raise ConflictError(
        f"{change} has been changed by somebody since this plan was made; what stands before it is applied. "
        "Look at the new state with `podbay plan`, then apply again."
    )


async def _delete(api: Writer, plan: Plan, change: Change, collection: Collection) -> None:
    assert change.live is not None
    namespace = plan.deployment.namespace if collection.namespaced else None
    options = {"preconditions": {"uid": uid_of(change.live)}}
    try:
        await api.delete(collection.resource, change.key[1], namespace=namespace, options=options)
    except ApiError as err:
        if err.code != 404:
            raise


async def _still_ours(api: Writer, plan: Plan, results: list[Applied]) -> None:
    """Whether the namespace still carries this plan's revision: another apply may have begun meanwhile."""
    if results and results[0].change.key[0] == "Namespace" and results[0].done == "refused":
        return
    now = await api.get(NAMESPACES, plan.deployment.namespace)
    if annotations_of(now).get(REVISION_ANNOTATION) != plan.revision:
        raise ConflictError(
            f"somebody else applied another state of {plan.deployment.name} at the same time; both may be there in parts. "
            "Agree with them on one podbay.yaml and apply it again."
        )
