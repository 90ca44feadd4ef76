"""Field managers: who owns which field of an object, and server-side apply.

Every write passes here: `FieldManager.track` for those that bring a whole object, `FieldManager.apply` for apply
patches. Defaulting, normal form, admission and validation are the caller's; in Kubernetes this step stands after
defaulting and before mutating admission, so fields that admission fills belong to nobody.

Source: k8s.io/apimachinery/pkg/util/managedfields/internal. One version of each kind is served, so entries of
another apiVersion go, as Kubernetes drops those of a version that is gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from podbay.apiserver import status
from podbay.apiserver.patch.apply_merge import Conflict, Outcome, apply_configuration, disown
from podbay.apiserver.patch.fieldset import (
    FieldSet,
    difference,
    intersection,
    ordered,
    printed,
    recursive_difference,
    set_of,
    union,
)
from podbay.apiserver.patch.last_applied import allowed_conflicts, refreshed
from podbay.apiserver.patch.managers import (
    APPLY,
    UPDATE,
    Entry,
    Managers,
    Name,
    Write,
    cap_updates,
    decode,
    encode,
    printed_manager,
)
from podbay.apiserver.patch.shapes import Shape, Shapes
from podbay.apiserver.patch.typed import changes
from podbay.apiserver.patch.typed_check import misfits
from podbay.apiserver.schema.normalize import normalizer
from podbay.apiserver.schema.types import Schema
from podbay.errors import ApiError
from podbay.objects.meta import Object

__all__ = ["FieldManager", "Write", "keep_times", "reset_fields"]

_STRIPPED = set_of(
    "apiVersion",
    "kind",
    "metadata",
    "metadata.name",
    "metadata.namespace",
    "metadata.creationTimestamp",
    "metadata.selfLink",
    "metadata.uid",
    "metadata.clusterName",
    "metadata.generation",
    "metadata.managedFields",
    "metadata.resourceVersion",
)
"""Fields that nobody owns (Go: stripMetaManager)."""
_BEFORE_FIRST_APPLY = "before-first-apply"
_KUBECTL = "kubectl"

_RESET_MAIN = set_of("status")
_RESET_STATUS = set_of("spec")
_RESET_POD_STATUS = set_of("spec", "metadata.deletionTimestamp", "metadata.ownerReferences")


def reset_fields(kind: str, subresource: str) -> FieldSet:
    """The fields that writes to a kind's endpoint leave alone (Go: GetResetFields of its strategies)."""
    if not subresource:
        return _RESET_MAIN
    if subresource == "status":
        return _RESET_POD_STATUS if kind == "Pod" else _RESET_STATUS
    return {}


class FieldManager:
    """Stateless but for compiled types; one instance serves all requests."""

    def __init__(self, schema: Schema) -> None:
        self._shapes = Shapes(schema)
        self._normal = normalizer(schema)

    def track(self, live: Object | None, new: Object, *, type_name: str, write: Write) -> Object:
        """Set new's managedFields after a create (live None), an update or a patch; gives new back.

        Both objects are in normal form. The managedFields that the client sent count, unless they are empty,
        invalid, or came through a subresource; `[{}]` ends tracking until the next apply.
        """
        metadata: dict[str, Any] = new.setdefault("metadata", {})
        sent = metadata.pop("managedFields", None)
        before = (live or {}).get("metadata") or {}
        managers = _starting_managers(before.get("managedFields"), sent, write.subresource)
        if not managers and before.get("uid"):
            return new
        try:
            managers = self._track(
                self._typed(live, type_name), new, managers, self._shapes.of(type_name), write
            )
        except ValueError:
            # A list whose items cannot be told apart: kube-apiserver gives up on managedFields too.
            return new
        if managers:
            metadata["managedFields"] = encode(managers)
        return new

    def apply(
        self, live: Object | None, applied: Object, *, type_name: str, write: Write, force: bool
    ) -> Object:
        """The object after applying a configuration, with its managedFields; not in normal form yet.

        Neither input is changed. Raises ApiError: 400 for another kind or version or for managedFields in the
        configuration, 409 for conflicts unless force, 500 where Kubernetes answers so (fields the type lacks).
        """
        shape = self._shapes.of(type_name)
        _check_applied(applied, type_name, write.api_version)
        before, managers = _split(self._typed(live, type_name))
        try:
            if not managers and live is not None:
                first = replace(write, manager=_BEFORE_FIRST_APPLY)
                managers = self._track(self._typed(None, type_name), before, managers, shape, first)
            mistakes = misfits(applied, shape)
            if mistakes:
                raise ApiError(
                    500, "", f"failed to create typed patch object ({_describe(applied)}): {mistakes}"
                )
            outcome = _apply(before, applied, managers, shape, write=write, force=force)
        except ValueError as error:
            raise ApiError(500, "", f"failed to merge config: {error}") from None
        if outcome.conflicts:
            raise _conflict_error(outcome.conflicts)
        merged = refreshed(outcome.merged, applied) if write.manager == _KUBECTL else outcome.merged
        entries = encode(_finished(outcome, write))
        metadata = {**(merged.get("metadata") or {}), "managedFields": entries}
        if not entries:
            del metadata["managedFields"]
        return {**merged, "metadata": metadata}

    def _typed(self, live: Object | None, type_name: str) -> Object:
        """For a new object what Go compares it with: the zero object, whose structs are there and empty."""
        if live is None:
            zero: Object = self._normal.struct(type_name)({})
            return zero
        return live

    def _track(self, live: Object, new: Object, managers: Managers, shape: Shape, write: Write) -> Managers:
        changed, removed = changes(live, new, shape)
        if write.reset:
            changed = recursive_difference(changed, write.reset)
            removed = recursive_difference(removed, write.reset)
        managers = disown(managers, changed, removed, write.api_version)
        mine = difference(changed, _STRIPPED)
        if mine:
            name = write.name(UPDATE)
            mine = ordered(mine)
            if name in managers:
                mine = union(managers[name].fields, mine)
            managers[name] = Entry(write.api_version, mine, write.now)
        return cap_updates(managers)


def keep_times(new: Object, old: Object) -> None:
    """Put old's managedFields into new when nothing differs but their times: a no-op write must stay one.

    Source: IgnoreManagedFieldsTimestampsTransformer in k8s.io/apiserver/pkg/endpoints/handlers/fieldmanager.
    """
    now = new["metadata"].get("managedFields") or ()
    before = old["metadata"].get("managedFields") or ()
    if len(now) != len(before) or now == before:
        return
    if any({**a, "time": ""} != {**b, "time": ""} for a, b in zip(now, before, strict=True)):
        return
    if {**new, "metadata": {**new["metadata"], "managedFields": before}} == old:
        new["metadata"]["managedFields"] = before


def _starting_managers(live: Any, sent: Any, subresource: str) -> Managers:
    """Who owned what before the write, by the client's word if it has a valid one."""
    if sent is not None and sent != live and not subresource:
        if sent == [{}]:
            return {}
        try:
            managers = decode(sent)
            if managers:
                return managers
        except (ValueError, AttributeError):
            pass
    try:
        return decode(live, trusted=True)
    except ValueError:
        return {}


def _split(live: Object) -> tuple[Object, Managers]:
    """An object without its managedFields, and those."""
    metadata = dict(live.get("metadata") or {})
    managers = decode(metadata.pop("managedFields", None), trusted=True)
    return {**live, "metadata": metadata}, managers


def _check_applied(applied: Object, type_name: str, api_version: str) -> None:
    if applied.get("kind") != type_name.rsplit(".", 1)[-1] or applied.get("apiVersion") != api_version:
        raise status.bad_request(f"invalid object type: {_group_version_kind(applied)}")
    metadata = applied.get("metadata")
    if isinstance(metadata, dict) and isinstance(metadata.get("managedFields"), list):
        raise status.bad_request("metadata.managedFields must be nil")


def _group_version_kind(obj: Object) -> str:
    """Go's GroupVersionKind.String()."""
    text, kind = obj.get("apiVersion"), obj.get("kind")
    version = text if isinstance(text, str) else ""
    if version.count("/") > 1:
        return "/, Kind="
    return f"{version if '/' in version else '/' + version}, Kind={kind if isinstance(kind, str) else ''}"


def _describe(obj: Object) -> str:
    metadata = obj.get("metadata")
    given = metadata if isinstance(metadata, dict) else {}
    namespace, name = (given.get(k) if isinstance(given.get(k), str) else "" for k in ("namespace", "name"))
    return f"{namespace}/{name}; {_group_version_kind(obj)}"


def _apply(
    live: Object, applied: Object, managers: Managers, shape: Shape, *, write: Write, force: bool
) -> Outcome:
    """Apply; what client-side apply left behind is no conflict for kubectl."""
    outcome = apply_configuration(live, applied, managers, shape, write=write, force=force)
    if not outcome.conflicts or write.manager != _KUBECTL:
        return outcome
    allowed = allowed_conflicts(live, shape, write.api_version)
    if allowed is None:
        return outcome
    left = [c for c in outcome.conflicts if not _contains(allowed, c[1])]
    if left:
        return replace(outcome, conflicts=left)
    return apply_configuration(live, applied, managers, shape, write=write, force=True)


def _contains(tree: FieldSet, path: tuple[str, ...]) -> bool:
    wanted: FieldSet = {}
    for element in reversed(path):
        wanted = {element: wanted}
    return bool(intersection(tree, wanted))


def _finished(outcome: Outcome, write: Write) -> Managers:
    """The managers to store: the applier without the fields that nobody owns, its time new if anything changed."""
    managers = dict(outcome.managers)
    name: Name = write.name(APPLY)
    mine = managers.pop(name, None)
    if mine is not None:
        fields = difference(mine.fields, _STRIPPED)
        if fields:
            time = write.now if outcome.changed else mine.time
            managers[name] = Entry(mine.api_version, ordered(fields), time)
    return managers


def _conflict_error(conflicts: Sequence[Conflict]) -> ApiError:
    causes = [
        {
            "reason": "FieldManagerConflict",
            "message": f"conflict with {printed_manager(name)}",
            "field": printed(path),
        }
        for name, path in conflicts
    ]
    if len(conflicts) == 1:
        name, path = conflicts[0]
        text = f"1 conflict: conflict with {printed_manager(name)}: {printed(path)}"
        return status.apply_conflict(causes, f"Apply failed with {text}")
    lines: list[str] = []
    previous: Name | None = None
    for name, path in conflicts:
        if name != previous:
            lines.append(f"conflicts with {printed_manager(name)}:")
            previous = name
        lines.append(f"- {printed(path)}")
    return status.apply_conflict(causes, f"Apply failed with {len(conflicts)} conflicts: " + "\n".join(lines))
