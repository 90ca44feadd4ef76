"""`metadata.managedFields`: entries read from the wire, kept by manager, capped, sorted and written back.

Source: k8s.io/apimachinery/pkg/util/managedfields/internal (managedfields.go, capmanagers.go, buildmanagerinfo.go).
Who owns what is decided in managed.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from podbay.apiserver.field import go_quote
from podbay.apiserver.patch.fieldset import FieldSet, canonical, union

__all__ = [
    "APPLY",
    "UPDATE",
    "Entry",
    "Managers",
    "Name",
    "Write",
    "cap_updates",
    "decode",
    "encode",
    "printed_manager",
]

APPLY = "Apply"
UPDATE = "Update"
MAX_UPDATE_MANAGERS = 10
"""Entries of operation Update kept apart; the oldest beyond that become one."""
_ANCIENT = "ancient-changes"


class Name(NamedTuple):
    """What makes an entry the same one as before. api_version is empty for Apply: appliers keep theirs."""

    manager: str
    operation: str
    api_version: str
    subresource: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One manager's fields. `time` is RFC 3339 or empty, `api_version` that of the fields."""

    api_version: str
    fields: FieldSet
    time: str = ""


Managers: TypeAlias = dict[Name, Entry]


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """How a write reaches an object: by whom, when (RFC 3339, UTC, whole seconds), in which version.

    `reset` are the fields that the endpoint does not let a client write, as a FieldsV1 tree.
    """

    manager: str
    now: str
    api_version: str
    subresource: str = ""
    reset: FieldSet = field(default_factory=dict)

    def name(self, operation: str) -> Name:
        api_version = self.api_version if operation == UPDATE else ""
        return Name(self.manager or "unknown", operation, api_version, self.subresource)


def printed_manager(name: Name) -> str:
    """A manager as conflicts name it: "kubectl" using v1."""
    text = go_quote(name.manager)
    if name.subresource:
        text += f" with subresource {go_quote(name.subresource)}"
    return f"{text} using {name.api_version}" if name.operation == UPDATE else text


def decode(entries: Iterable[Any] | None, *, trusted: bool = False) -> Managers:
    """Read managedFields. trusted: they come out of storage, where their fields are in canonical form.

    ValueError with the reason when they are not valid.
    """
    out: Managers = {}
    for i, entry in enumerate(entries or ()):
        operation, api_version = entry.get("operation"), entry.get("apiVersion") or ""
        if operation not in (APPLY, UPDATE):
            raise ValueError("operation must be `Apply` or `Update`")
        if not api_version:
            raise ValueError("apiVersion must not be empty")
        kind = entry.get("fieldsType") or ""
        if not kind:
            raise ValueError(f"missing fieldsType in managed fields entry {i}")
        if kind != "FieldsV1":
            raise ValueError(f"invalid fieldsType {go_quote(kind)} in managed fields entry {i}")
        fields = entry.get("fieldsV1") or {}
        name = Name(
            entry.get("manager") or "",
            operation,
            "" if operation == APPLY else api_version,
            entry.get("subresource") or "",
        )
        out[name] = Entry(api_version, fields if trusted else canonical(fields), entry.get("time") or "")
    return out


def encode(managers: Managers) -> list[dict[str, Any]]:
    """The entries as they are stored: Apply before Update, older before newer, then by name."""
    return [_encode(name, entry) for name, entry in sorted(managers.items(), key=_sort_key)]


def _encode(name: Name, entry: Entry) -> dict[str, Any]:
    out: dict[str, Any] = {
        "manager": name.manager,
        "operation": name.operation,
        "apiVersion": entry.api_version,
        "time": entry.time,
        "fieldsType": "FieldsV1",
        "fieldsV1": entry.fields,
    }
    if not entry.time:
        del out["time"]
    if not name.manager:
        del out["manager"]
    if name.subresource:
        out["subresource"] = name.subresource
    return out


def _sort_key(item: tuple[Name, Entry]) -> tuple[str, ...]:
    name, entry = item
    # RFC 3339 in UTC sorts as text, and an absent time is the oldest.
    return (name.operation, entry.time, name.manager, entry.api_version, name.subresource)


def cap_updates(managers: Managers) -> Managers:
    """Join the oldest Update entries into "ancient-changes" until few enough are left."""
    updates = [name for name in managers if name.operation == UPDATE]
    surplus = len(updates) - MAX_UPDATE_MANAGERS
    if surplus <= 0:
        return managers
    out = dict(managers)
    first_of: dict[str, Name] = {}
    for name in sorted(updates, key=lambda n: (managers[n].time, n)):
        if surplus <= 0:
            break
        entry = managers[name]
        if entry.api_version not in first_of:
            first_of[entry.api_version] = name
            continue
        bucket = Name(_ANCIENT, UPDATE, entry.api_version, "")
        if bucket not in out:
            out[bucket] = out.pop(first_of[entry.api_version])
        joined = union(entry.fields, out[bucket].fields)
        del out[name]
        out[bucket] = Entry(entry.api_version, joined, entry.time)
        surplus -= 1
    return out
