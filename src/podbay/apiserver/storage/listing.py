"""How a list reads its options, and how it is cut into pages. Pure.

Sources: cacher.GetList and watchCache.waitUntilFreshAndList in k8s.io/apiserver/pkg/storage/cacher,
ValidateListOptions in storage/interfaces.go, etcd3/errors.go for the words of a 410.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from podbay.apiserver import status
from podbay.apiserver.storage.collection import Collection
from podbay.apiserver.storage.continuation import LATEST, decode_continue, encode_continue
from podbay.apiserver.storage.entry import Page, Predicate
from podbay.apiserver.storage.options import EXACT, NOT_OLDER_THAN, parse_version
from podbay.errors import ApiError

__all__ = ["Plan", "expired", "page", "plan", "single"]

_EXPIRED: Final = "The resourceVersion for the provided list is too old."
_CONTINUE_EXPIRED: Final = (
    "The provided continue parameter is too old to display a consistent list result. "
    "You can start a new list without the continue parameter, or use the continue token in this response to "
    "retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - "
    "objects that were created, modified, or deleted between the time the first chunk was returned and now "
    "may show up in the list."
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a list is to read: the version (0: the current one), the key to start at, the page's size (0: all)."""

    at: int = 0
    not_older_than: int = 0
    start: str = ""
    limit: int = 0


def plan(resource_version: str, match: str, *, limit: int, continue_token: str, single: bool = False) -> Plan:
    """Read the options of a list. Raises 400 for a malformed version or token."""
    # A list that any version will do for comes from the cache, which does not page.
    limit = 0 if resource_version == "0" else max(0, limit)
    if continue_token:
        start, version = decode_continue(continue_token)
        if resource_version not in ("", "0"):
            raise status.bad_request("specifying resource version is not allowed when using continue")
        return Plan(at=max(version, 0), start=start, limit=limit)
    wanted = parse_version(resource_version)
    if not isinstance(wanted, int):
        raise status.bad_request(f"invalid resource version: {wanted}")
    if match == EXACT:
        return Plan(at=wanted, limit=limit)
    if match != NOT_OLDER_THAN and limit and wanted and not single:
        # Before resourceVersionMatch existed, a limit made the version exact.
        return Plan(at=wanted, limit=limit)
    return Plan(not_older_than=wanted, limit=limit)


def expired(plan: Plan) -> ApiError:
    """410 for a plan whose version is compacted; a continued list gets a token for the rest as it is now."""
    if not plan.start:
        return status.expired(_EXPIRED)
    return status.expired(_CONTINUE_EXPIRED, continue_token=encode_continue(plan.start, LATEST))


def single(
    collection: Collection, namespace: str | None, name: str, selects: Predicate | None, *, version: int
) -> Page:
    """The page of a list that names its object."""
    entries = collection.named(namespace, name)
    return Page([e for e in entries if selects is None or selects(e.labels, e.fields)], version)


def page(
    collection: Collection, namespace: str | None, selects: Predicate | None, *, plan: Plan, version: int
) -> Page:
    """The entries from plan.start on, up to plan.limit of the selected ones.

    What remains is counted only without a selector: nobody has looked at the rest.
    """
    entries = collection.scan(namespace, plan.start)
    if not plan.limit:
        if selects is None:
            return Page(list(entries), version)
        return Page([e for e in entries if selects(e.labels, e.fields)], version)
    total = collection.count(namespace, plan.start)
    chosen = []
    for seen, entry in enumerate(entries, start=1):
        if selects is not None and not selects(entry.labels, entry.fields):
            continue
        chosen.append(entry)
        if len(chosen) == plan.limit:
            if seen < total:
                start = _key(namespace, entry.namespace, entry.name) + "\0"
                remaining = None if selects is not None else total - plan.limit
                return Page(chosen, version, encode_continue(start, version), remaining)
            break
    return Page(chosen, version)


def _key(scope: str | None, namespace: str, name: str) -> str:
    return f"{namespace}/{name}" if scope is None and namespace else name
