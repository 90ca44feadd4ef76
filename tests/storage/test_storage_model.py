"""Any interleaving of writers, watchers, lists, compactions and restarts, against a model.

The model is a list of writes. Everything the store shows must follow from it: a watch shows each write that
concerns it once and in order, a list at a version is the state at that version, pages of one list fit together.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)
from storage_builders import KEY, make_pod

from podbay.apiserver.storage import Change, Predicate, Store, Watcher
from podbay.errors import ApiError

NAMES = st.sampled_from(["a", "a-b", "b", "c"])
NAMESPACES = st.sampled_from(["n", "n-x", "m"])
TEAMS = st.sampled_from(["red", "blue", ""])
SCOPE_NAMESPACES = st.sampled_from([None, None, "n", "n-x", "m"])
SCOPE_NAMES = st.sampled_from([None, None, None, "a", "b"])
SELECTORS = st.sampled_from(["", "", "red", "blue"])
BURSTS = st.lists(st.tuples(NAMESPACES, NAMES, st.one_of(TEAMS, TEAMS, st.none())), min_size=1, max_size=10)
BACK = st.one_of(st.none(), st.integers(0, 40))
"""How many writes ago; None is the oldest version that history reaches."""
MAX_PENDING = 12


@dataclass(frozen=True)
class Thing:
    """An object in the model."""

    namespace: str
    name: str
    team: str
    value: int
    version: int


@dataclass(frozen=True)
class Write:
    version: int
    before: Thing | None
    after: Thing | None


Seen = tuple[str, str, str, int, int]
"""What a client sees of a change: type, namespace, name, version, value."""


@dataclass
class Client:
    """A watching client: what it asked for, what it must see, what it saw."""

    watcher: Watcher
    namespace: str | None
    name: str | None
    team: str
    start: int
    initial: list[Seen]
    seen: list[Seen] = field(default_factory=list)

    def wants(self, thing: Thing | None) -> bool:
        return (
            thing is not None
            and self.namespace in (None, thing.namespace)
            and self.name in (None, thing.name)
            and self.team in ("", thing.team)
        )

    def expected(self, log: list[Write]) -> list[Seen]:
        events = list(self.initial)
        for write in log:
            if write.version > self.start:
                event = self.event(write)
                if event is not None:
                    events.append(event)
        return events

    def event(self, write: Write) -> Seen | None:
        now, before = self.wants(write.after), self.wants(write.before)
        if now and write.after is not None:
            return _seen("MODIFIED" if before else "ADDED", write.after, write.version)
        if before and write.before is not None:
            return _seen("DELETED", write.before, write.version)
        return None


def _seen(kind: str, thing: Thing, version: int) -> Seen:
    return (kind, thing.namespace, thing.name, version, thing.value)


def _observed(change: Change) -> Seen:
    obj = change.entry.object()
    assert obj["metadata"]["resourceVersion"] == str(change.entry.version)
    return (
        change.type,
        obj["metadata"]["namespace"],
        obj["metadata"]["name"],
        change.entry.version,
        obj["spec"]["value"],
    )


def _predicate(team: str) -> Predicate | None:
    if not team:
        return None

    def selects(labels: Mapping[str, str], fields: Mapping[str, str]) -> bool:
        return labels.get("team") == team

    return selects


class StoreMachine(RuleBasedStateMachine):
    clients = Bundle("clients")
    tokens = Bundle("tokens")

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.store = self._open()
        self.base = self.store.version
        self.log: list[Write] = []
        self.states: dict[int, dict[tuple[str, str], Thing]] = {self.base: {}}
        self.version = self.base
        self.live: list[Client] = []
        self.counter = 0

    def _open(self) -> Store:
        return Store.open(
            self.directory / "state.db", history_limit=1_000, history_seconds=1e9, max_pending=MAX_PENDING
        )

    def teardown(self) -> None:
        for client in self.live:
            self._drain(client)
        self.store.close()
        shutil.rmtree(self.directory)

    # --- writers

    def _record(self, before: Thing | None, after: Thing | None) -> None:
        self.version += 1
        state = dict(self.states[self.version - 1])
        if after is not None:
            state[after.namespace, after.name] = after
        elif before is not None:
            del state[before.namespace, before.name]
        self.states[self.version] = state
        self.log.append(Write(self.version, before, after))

    @property
    def now(self) -> dict[tuple[str, str], Thing]:
        return self.states[self.version]

    def _pod(self, thing: Thing) -> dict[str, object]:
        labels = {"team": thing.team} if thing.team else {}
        return make_pod(thing.name, thing.namespace, value=thing.value, **labels)

    @rule(writes=BURSTS)
    def write(self, writes: list[tuple[str, str, str | None]]) -> None:
        """Put objects under the given names, or delete them where no team is given."""
        for namespace, name, team in writes:
            if team is not None:
                self._put(namespace, name, team)
            elif (namespace, name) in self.now:
                assert self.store.delete(KEY, namespace, name).version == self.version + 1
                self._record(self.now[namespace, name], None)

    def _put(self, namespace: str, name: str, team: str) -> None:
        self.counter += 1
        old = self.now.get((namespace, name))
        thing = Thing(namespace, name, team, self.counter, self.version + 1)
        if old is None:
            entry = self.store.create(KEY, self._pod(thing), fields={})
        else:
            entry = self.store.update(KEY, self._pod(thing), fields={}, expected=old.version)
        assert entry.version == thing.version
        self._record(old, thing)

    @rule(namespace=NAMESPACES, name=NAMES)
    def put_the_same(self, namespace: str, name: str) -> None:
        old = self.now.get((namespace, name))
        if old is not None:
            assert self.store.update(KEY, self._pod(old), fields={}).version == old.version

    @rule(namespace=NAMESPACES, name=NAMES, team=TEAMS)
    def lose_a_race(self, namespace: str, name: str, team: str) -> None:
        old = self.now.get((namespace, name))
        thing = Thing(namespace, name, team, -1, 0)
        try:
            if old is None:
                self.store.update(KEY, self._pod(thing), fields={}, expected=self.base + 1)
            else:
                self.store.update(KEY, self._pod(thing), fields={}, expected=old.version - 1)
        except ApiError as error:
            assert error.code == (404 if old is None else 409)
        else:
            raise AssertionError("a write with a stale version went through")

    @rule(namespace=NAMESPACES)
    def write_elsewhere(self, namespace: str) -> None:
        """Another resource moves the counter but concerns no watch here."""
        self.counter += 1
        self.store.create("events", make_pod(f"e{self.counter}", namespace), fields={})
        self.version += 1
        self.states[self.version] = self.states[self.version - 1]

    def _ago(self, back: int | None) -> int:
        return self.store.compacted if back is None else max(self.version - back, 1)

    # --- watchers

    def _subscribe(
        self, client_start: int | None, namespace: str | None, name: str | None, team: str
    ) -> Client:
        initial: list[Seen] = []
        probe = Client(None, namespace, name, team, 0, [])  # type: ignore[arg-type]
        if client_start is None:
            things = sorted(self.now.values(), key=lambda t: f"{t.namespace}/{t.name}")
            initial = [_seen("ADDED", t, t.version) for t in things if probe.wants(t)]
        watcher = self.store.watch(
            KEY,
            namespace,
            predicate=_predicate(team),
            name=name,
            resource_version="" if client_start is None else str(client_start),
        )
        start = self.version if client_start is None else client_start
        return Client(watcher, namespace, name, team, start, initial)

    @rule(target=clients, namespace=SCOPE_NAMESPACES, name=SCOPE_NAMES, team=SELECTORS)
    def watch_from_now(self, namespace: str | None, name: str | None, team: str) -> Client:
        client = self._subscribe(None, namespace, name, team)
        self.live.append(client)
        return client

    @rule(
        target=clients,
        namespace=SCOPE_NAMESPACES,
        name=SCOPE_NAMES,
        team=SELECTORS,
        back=BACK,
    )
    def watch_from_the_past(
        self, namespace: str | None, name: str | None, team: str, back: int | None
    ) -> object:
        start = self._ago(back)
        client = self._subscribe(start, namespace, name, team)
        if start < self.store.compacted:
            self._is_too_old(client, start)
            return multiple()
        self.live.append(client)
        return client

    def _is_too_old(self, client: Client, start: int) -> None:
        (change,) = client.watcher.take()
        status = change.entry.object()
        assert (change.type, status["code"], status["reason"]) == ("ERROR", 410, "Expired")
        assert status["message"] == f"too old resource version: {start} ({self.store.compacted})"
        assert client.watcher.closed

    @rule(client=clients, count=st.integers(1, 7))
    def read(self, client: Client, count: int) -> None:
        self._take(client, count)

    def _take(self, client: Client, count: int) -> int:
        changes = client.watcher.take(count)
        client.seen += [_observed(change) for change in changes]
        expected = client.expected(self.log)
        assert client.seen == expected[: len(client.seen)]
        return len(changes)

    def _drain(self, client: Client) -> None:
        while self._take(client, 100):
            pass
        if not client.watcher.closed:
            assert client.seen == client.expected(self.log)

    @rule(client=clients)
    def read_all(self, client: Client) -> None:
        self._drain(client)

    @rule(target=clients, client=consumes(clients), read_first=st.booleans())
    def resume(self, client: Client, read_first: bool) -> object:
        """The client goes away and comes back at the last version it saw, as after any end of a stream."""
        if read_first:
            self._drain(client)
        client.watcher.close()
        self.live = [other for other in self.live if other is not client]
        if len(client.seen) < len(client.initial):
            return multiple()
        start = max([client.start, *(seen[3] for seen in client.seen[len(client.initial) :])])
        twin = self._subscribe(start, client.namespace, client.name, client.team)
        if start < self.store.compacted:
            self._is_too_old(twin, start)
            return multiple()
        # What was seen before the break and what comes after it must fit together without gap or repeat.
        twin.start, twin.initial, twin.seen = client.start, client.initial, list(client.seen)
        self.live.append(twin)
        return twin

    @invariant()
    def only_slow_clients_are_ended(self) -> None:
        for client in self.live:
            if client.watcher.overflowed:
                missed = len(client.expected(self.log)) - len(client.seen)
                assert missed > MAX_PENDING

    # --- lists

    def _selected(self, version: int, namespace: str | None, team: str) -> list[Thing]:
        things = sorted(self.states[version].values(), key=lambda t: f"{t.namespace}/{t.name}")
        return [t for t in things if namespace in (None, t.namespace) and team in ("", t.team)]

    @rule(namespace=SCOPE_NAMESPACES, team=SELECTORS, back=BACK)
    def list_exact(self, namespace: str | None, team: str, back: int | None) -> None:
        version = self._ago(back)
        options = {"resource_version": str(version), "resource_version_match": "Exact"}
        if version < self.store.compacted:
            try:
                self.store.list(KEY, namespace, **options)
            except ApiError as error:
                assert (error.code, error.reason) == (410, "Expired")
                return
            raise AssertionError("a compacted version was listed")
        page = self.store.list(KEY, namespace, predicate=_predicate(team), **options)
        assert page.version == version
        expected = self._selected(version, namespace, team)
        assert [(e.namespace, e.name, e.version) for e in page.entries] == [
            (t.namespace, t.name, t.version) for t in expected
        ]
        assert [e.object()["spec"]["value"] for e in page.entries] == [t.value for t in expected]

    @rule(target=tokens, namespace=SCOPE_NAMESPACES, team=SELECTORS, limit=st.integers(1, 4))
    def list_first_page(self, namespace: str | None, team: str, limit: int) -> object:
        return self._page(namespace, team, limit, token="", version=self.version, done=0)

    @rule(target=tokens, token=consumes(tokens), limit=st.integers(1, 4))
    def list_next_page(self, token: tuple[str | None, str, str, int, int], limit: int) -> object:
        namespace, team, text, version, done = token
        if version >= self.store.compacted:
            return self._page(namespace, team, limit, token=text, version=version, done=done)
        try:
            self.store.list(KEY, namespace, limit=limit, continue_token=text)
        except ApiError as error:
            assert (error.code, error.reason) == (410, "Expired")
            # The rest as it is now: whatever that is, it continues behind the last key.
            page = self.store.list(KEY, namespace, continue_token=error.continue_token)
            assert page.version == self.version
            return multiple()
        raise AssertionError("a compacted list was continued")

    def _page(
        self, namespace: str | None, team: str, limit: int, *, token: str, version: int, done: int
    ) -> object:
        page = self.store.list(KEY, namespace, predicate=_predicate(team), limit=limit, continue_token=token)
        expected = self._selected(version, namespace, team)[done:]
        assert page.version == version
        assert [(e.namespace, e.name, e.version) for e in page.entries] == [
            (t.namespace, t.name, t.version) for t in expected[:limit]
        ]
        if not page.continue_token:
            assert len(expected) <= limit
            return multiple()
        if team:
            assert page.remaining is None
        else:
            assert page.remaining == len(expected) - limit > 0
        return (namespace, team, page.continue_token, version, done + limit)

    # --- time passes

    @rule(keep=st.integers(0, 25))
    def compact(self, keep: int) -> None:
        wanted = self.version - keep
        before = self.store.compacted
        assert self.store.compact(wanted) == max(before, wanted)

    @precondition(lambda self: self.log)
    @rule()
    def restart(self) -> None:
        """Open streams end; versions and history stay."""
        compacted = self.store.compacted
        for client in self.live:
            client.watcher.close()
        self.store.close()
        self.store = self._open()
        assert (self.store.version, self.store.compacted) == (self.version, compacted)

    @initialize()
    def starts_in_the_compacted_past(self) -> None:
        assert self.store.version == self.store.compacted > 1

    @invariant()
    def current_state_is_the_models(self) -> None:
        assert self.store.version == self.version
        entries = self.store.entries(KEY)
        assert [(e.namespace, e.name) for e in entries] == sorted(self.now, key="/".join)
        assert {(e.namespace, e.name): e.version for e in entries} == {
            identity: thing.version for identity, thing in self.now.items()
        }


TestStoreModel = StoreMachine.TestCase
TestStoreModel.settings = settings(
    max_examples=80,
    stateful_step_count=150,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
