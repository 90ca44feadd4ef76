"""The versioned store of the API server: objects, history, lists and watches (store.py is where to start)."""

from podbay.apiserver.storage.entry import Change, ChangeType, Entry, Page, Predicate
from podbay.apiserver.storage.options import (
    ListOptions,
    check_list_options,
    default_list_options,
    validate_list_options,
)
from podbay.apiserver.storage.store import Store
from podbay.apiserver.storage.watch import Watcher

__all__ = [
    "Change",
    "ChangeType",
    "Entry",
    "ListOptions",
    "Page",
    "Predicate",
    "Store",
    "Watcher",
    "check_list_options",
    "default_list_options",
    "validate_list_options",
]
