"""What one healer remembers between rounds. Nothing of it is needed for safety: without it, it is only more patient."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from podbay.healer.rules import Rules
from podbay.healer.world import ClusterAt, PodAt, Vanished
from podbay.objects.meta import Object, name_of, namespace_of, uid_of
from podbay.pods.identity import TaskIdentity, identity_of

__all__ = ["Memory"]

_VANISHED: Final = 1000
_TOLD_AGAIN: Final = 3600.0
"""Seconds until the same report is told once more."""
_FORGET: Final = 3600.0
_REST: Final = 60.0
"""Seconds before what has failed once is tried again."""
_LONGEST_REST: Final = 1800.0


@dataclass(slots=True)
class Memory:
    """Times are of our monotonic clock."""

    seen: dict[str, float] = field(default_factory=dict)
    noticed: dict[tuple[str, str], float] = field(default_factory=dict)
    acted: list[float] = field(default_factory=list)
    failed: dict[tuple[str, str], float] = field(default_factory=dict)
    """(uid, check): when it is tried again."""
    _failures: dict[tuple[str, str], int] = field(default_factory=dict)
    _last: dict[str, tuple[TaskIdentity, str, str, str]] = field(default_factory=dict)
    _vanished: OrderedDict[str, Vanished] = field(default_factory=OrderedDict)
    _told: dict[tuple[str, str], float] = field(default_factory=dict)

    def observe(
        self, pods: Iterable[tuple[ClusterAt, Object]], moment: float, rules: Rules
    ) -> tuple[PodAt, ...]:
        """Take note of the pods that are there now, in all clusters; of one in trouble, those that were there last."""
        now_here = {uid_of(pod): (cluster, pod) for cluster, pod in pods}
        for uid in self._last.keys() - now_here.keys():
            identity, cluster, namespace, name = self._last[uid]
            self._vanished[uid] = Vanished(
                identity=identity, namespace=namespace, name=name, uid=uid, since=moment, cluster=cluster
            )
        while len(self._vanished) > _VANISHED:
            self._vanished.popitem(last=False)
        self.seen = {uid: self.seen.get(uid, moment) for uid in now_here}
        self._last = {}
        for uid, (at, pod) in now_here.items():
            own = identity_of(pod)
            has_ended = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
            if own is not None and own.deployment == rules.deployment and not has_ended:
                self._last[uid] = (own, at.name, namespace_of(pod), name_of(pod))
        return tuple(PodAt(pod, self.seen[uid], at) for uid, (at, pod) in now_here.items())

    def vanished(self, moment: float) -> tuple[Vanished, ...]:
        """Pods that went away lately."""
        for uid in [uid for uid, gone in self._vanished.items() if moment - gone.since > _FORGET]:
            del self._vanished[uid]
        return tuple(self._vanished.values())

    def notice(self, found: Iterable[tuple[str, str]], moment: float) -> None:
        """What checks have found in this round; what they find no more begins anew next time."""
        self.noticed = {each: self.noticed.get(each, moment) for each in found}

    def act(self, moment: float) -> None:
        self.acted = [each for each in self.acted if moment - each < 60.0] + [moment]

    def fail(self, uid: str, check: str, moment: float) -> None:
        """It did not succeed: it is left for a while, each time for longer."""
        key = (uid, check)
        known = {each: at for each, at in self.failed.items() if moment - at < _FORGET}
        self._failures = {each: self._failures[each] for each in known}
        count = self._failures.get(key, 0)
        self._failures[key] = count + 1
        self.failed = known | {key: moment + min(_REST * 2**count, _LONGEST_REST)}

    def succeed(self, uid: str, check: str) -> None:
        """It went through, or is not to be done any more."""
        self.failed.pop((uid, check), None)
        self._failures.pop((uid, check), None)

    def is_news(self, uid: str, check: str, moment: float) -> bool:
        """It has not been reported within the last hour."""
        told = self._told.get((uid, check))
        return told is None or moment - told >= _TOLD_AGAIN

    def tell(self, uid: str, check: str, moment: float) -> None:
        self._told = {key: at for key, at in self._told.items() if moment - at < _TOLD_AGAIN}
        self._told[uid, check] = moment
