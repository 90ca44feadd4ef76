"""State, events and actions of one pod's run. Values only; `machine` says what follows from what.

Times are seconds of one monotonic clock that the engine reads; nothing here knows a wall clock, so a clock that is set
an hour back changes no decision.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from podbay.errors import PodbayError
from podbay.lifecycle.diagnosis.model import Diagnosis
from podbay.lifecycle.judge import Verdict
from podbay.lifecycle.outcome import Outcome
from podbay.objects.meta import Object
from podbay.pods.result import ResultReading

__all__ = [
    "Action",
    "Adopt",
    "Asked",
    "Cleaned",
    "Create",
    "Created",
    "Decide",
    "Decided",
    "Delete",
    "Event",
    "Explained",
    "Find",
    "Finish",
    "Found",
    "Gone",
    "Kill",
    "LogsRead",
    "Mark",
    "Phase",
    "ReadEvents",
    "ReadResult",
    "Refused",
    "ResultRead",
    "Save",
    "Seen",
    "State",
    "Taken",
    "Tell",
    "Tick",
    "WaitForLogs",
    "Wake",
    "Withdraw",
    "Withdrawn",
]

Phase: TypeAlias = Literal[
    "new", "creating", "queued", "scheduling", "unschedulable", "pulling", "initializing", "starting", "running",
    "result", "replacing", "cleaning", "done",
]  # fmt: skip
"""What a person is told. queued: for quota or a scheduling gate; unschedulable: for a node; result: the main container has
ended and its log and result are being read; replacing: the infrastructure lost the pod and another one follows."""

Clock: TypeAlias = Literal["queue", "schedule", "start"]


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Everything known about the run."""

    phase: Phase = "new"
    text: str = ""
    """What is waited for."""
    begun_at: float = 0.0
    incarnation: int = 0
    incarnations: int = 1
    """Pods used, this one included."""
    name: str = ""
    namespace: str = ""
    uid: str = ""
    """Empty: no pod of this incarnation is known to exist."""
    pod: Object | None = None
    creating: bool = False
    """A create is under way; its answer will come."""
    create_at: float | None = None
    """When the next create is due."""
    create_failures: int = 0
    create_error: PodbayError | None = None
    refusal: Diagnosis | None = None
    doubtful: bool = False
    """A create whose answer was lost may have made a pod. A later create that is refused says nothing about it: quota, above
    all, is looked at before the name is, and it may be that very pod that fills it."""
    behind: bool = False
    """The watch with which this life began may not know the pod of an earlier one yet."""
    finding: bool = False
    hopeless: bool = False
    """It cannot be created, or has not been for too long."""
    clock: Clock | None = None
    clock_since: float = 0.0
    spent: Mapping[str, float] = field(default_factory=dict)
    """Seconds by clock, without the running one."""
    events: Sequence[Object] = ()
    nodes: Sequence[Object] = ()
    explaining: bool = False
    """Events are being read."""
    explain_at: float | None = None
    explanations: int = 0
    explained_for: str = ""
    """The stage for whose despair events have been asked for."""
    explained: bool = False
    """Events have been read after the end."""
    bound_at: float | None = None
    running_at: float | None = None
    ended_at: float | None = None
    deletion_at: float | None = None
    """When a state that had not ended first told that others delete or evict the pod."""
    killed_by: str = ""
    kill_is_deadline: bool = False
    gave_up: Diagnosis | None = None
    """Why the pod is ended by us before its main container ran."""
    deleting_at: float | None = None
    """When we asked for its end."""
    kill_answered: bool = False
    """Our request for its end was accepted (or the pod was not there)."""
    gone: bool = False
    withdrawing: bool = False
    """A conditional deletion is under way, whose answer will come; asked for at that version of the pod."""
    withdrawn_at: str = ""
    withdrawal: Literal["no", "meant", "done"] = "no"
    """meant: it is written down, perhaps by an earlier life, that the pod is to be given up while it has no node. done: the
    API server has deleted it, and it had none."""
    looked: bool = False  # events have been asked for after it was gone
    unread: bool = False  # and could not be read, so they prove nothing
    remembered: Object | None = None
    """The state that an earlier life knew last; what counts if the pod is gone."""
    end_saved: bool = False
    """How it ended has been written down, for the outcome takes long."""
    verdict: Verdict | None = None
    logs: Literal["none", "asked", "read"] = "none"
    last_lines: Sequence[str] = ()
    result: ResultReading | None = None
    reading_result: bool = False
    outcome: Outcome | None = None
    decided: bool = False
    cleaning: bool = False
    cleaned: bool = False
    held_until: str = ""
    """The pod stays until then (RFC 3339)."""

    @property
    def wanted_dead(self) -> bool:
        """We want its end."""
        return bool(self.killed_by) or self.gave_up is not None

    @property
    def deletion_seen(self) -> bool:
        """Somebody, perhaps we, asked for its end before it had ended."""
        return self.deletion_at is not None or self.deleting_at is not None


# -- events: what has happened


@dataclass(frozen=True, slots=True)
class Found:
    """The run begins. pods are those of the same task try, of any incarnation, that the cluster has now."""

    now: float
    pods: Sequence[Object] = ()
    known_uid: str = ""
    """A pod that an earlier life of this run had created (checkpoint)."""
    known_name: str = ""
    incarnation: int = 0
    spent: Mapping[str, float] = field(default_factory=dict)
    """As in State."""
    last: Object | None = None
    deletion_seen: bool = False
    killed_by: str = ""
    """As in Checkpoint."""
    withdrawing: bool = False
    outcome: Outcome | None = None
    """Decided by an earlier life; only cleaning up is left."""


@dataclass(frozen=True, slots=True)
class Created:
    """The pod is ours: made, or recognised as made by a create whose answer was lost."""

    now: float
    pod: Object


@dataclass(frozen=True, slots=True)
class Taken:
    """The name is taken, by this pod. ours: it carries the same identity."""

    now: float
    pod: Object
    ours: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """The pod was not created. doubt: it may have been, nobody knows. final: it is not tried again whatever heals."""

    now: float
    error: PodbayError
    diagnosis: Diagnosis | None
    doubt: bool = False
    final: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """A state of a pod under our name."""

    now: float
    pod: Object


@dataclass(frozen=True, slots=True)
class Gone:
    """It is proven that our pod is not there any more. last is its last state known."""

    now: float
    last: Object | None


@dataclass(frozen=True, slots=True)
class Explained:
    """Events about the pod, and the nodes that matter; diagnosis of all that is known."""

    now: float
    events: Sequence[Object]
    nodes: Sequence[Object]
    skipped: bool = False
    """Too many ask just now; only what others had read is in it."""
    unread: bool = False
    """The cluster did not give the events; that there are none is not said."""


@dataclass(frozen=True, slots=True)
class LogsRead:
    """Everything that ended containers have written has been handed over. last_lines: the end of the main one's."""

    now: float
    last_lines: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class ResultRead:
    now: float
    reading: ResultReading


@dataclass(frozen=True, slots=True)
class Asked:
    """Somebody wants the run to end."""

    now: float
    by: str


@dataclass(frozen=True, slots=True)
class Decided:
    """The outcome has been written down where the driver keeps it."""

    now: float


@dataclass(frozen=True, slots=True)
class Cleaned:
    """The deletion (or mark) was accepted, or the pod was not there. error: it was refused for good."""

    now: float
    error: PodbayError | None = None
    held_until: str = ""
    """The mark says that the pod stays until then."""


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """done: the pod was deleted as it had been seen, so without a node. Otherwise it has changed, or was not there."""

    now: float
    done: bool


@dataclass(frozen=True, slots=True)
class Tick:
    now: float


Event: TypeAlias = (
    Found | Created | Taken | Refused | Seen | Gone | Explained | LogsRead | ResultRead | Asked | Decided | Cleaned | Withdrawn | Tick
)  # fmt: skip


# -- actions: what is to be done


@dataclass(frozen=True, slots=True)
class Create:
    incarnation: int


@dataclass(frozen=True, slots=True)
class Adopt:
    """Follow this pod from now on: its changes and its logs."""

    pod: Object


@dataclass(frozen=True, slots=True)
class Find:
    """Ask whether a pod is there: Created or Gone follows. An empty name and uid: the one that a create was to make."""

    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class ReadEvents:
    """Explained follows, also when they cannot be read."""

    needed: bool = True
    """Something is decided by them; otherwise they only say better what is waited for."""


@dataclass(frozen=True, slots=True)
class WaitForLogs:
    """LogsRead follows once the logs of ended containers have been handed over."""

    ended: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReadResult:
    """From the result sidecar's log; ResultRead follows."""

    patient: bool = True
    """A log that has no result yet is asked again: the task is none without it."""


@dataclass(frozen=True, slots=True)
class Kill:
    """Delete a pod that may run; grace in seconds, None leaves it to the pod. Cleaned follows."""

    uid: str
    grace: float | None


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Delete a pod without a node, but only if it is still as it was at that version. Withdrawn follows."""

    uid: str
    version: str


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete a pod that has ended. Cleaned follows."""

    uid: str


@dataclass(frozen=True, slots=True)
class Mark:
    """Label a pod that is kept as processed, and write down for how many seconds it stays. Cleaned follows."""

    uid: str
    hold: float | None = None


@dataclass(frozen=True, slots=True)
class Save:
    """Write the checkpoint down."""


@dataclass(frozen=True, slots=True)
class Decide:
    """Give the outcome to the driver and write it down; Decided follows. Nothing is cleaned up before."""

    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Finish:
    """Over."""

    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Tell:
    phase: Phase
    text: str


@dataclass(frozen=True, slots=True)
class Wake:
    """A Tick is wanted then; an earlier one does no harm."""

    at: float


Action: TypeAlias = (
    Create | Adopt | Find | ReadEvents | WaitForLogs | ReadResult | Kill | Delete | Mark | Save | Decide | Finish | Tell | Wake | Withdraw
)  # fmt: skip
