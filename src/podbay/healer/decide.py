"""From what is known to what is done. Pure; the same world gives the same actions (spec 23).

The rule of all rules: no wrong delete. What is not proven is reported, what is too young waits, and where Airflow or the
cluster did not answer fully nothing happens at all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from podbay.healer.checks import CHECKS
from podbay.healer.checks.leftover_secret import check_leftover, pod_of
from podbay.healer.checks.lost_pod import WAITING, check_lost
from podbay.healer.checks.pull_secret import check_pull_secret
from podbay.healer.facts import KEEP, Case, Finding, PodFacts, facts_of, held_until, task_of
from podbay.healer.matching import labels_key
from podbay.healer.restraint import Action, Unowned, rest_of, restrain
from podbay.healer.rules import Rules
from podbay.healer.world import TaskInstance, TaskKey, World, key_of
from podbay.objects.meta import labels_of, metadata_of, name_of, namespace_of, uid_of

__all__ = ["Decision", "Questions", "decide", "questions"]

_SECOND_LOOK: Final = 60.0
"""How far a second question reaches back before the first: Airflow may have written then what it told of only later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to do now."""

    actions: tuple[Action, ...] = ()
    waiting: tuple[tuple[Action, float], ...] = ()
    """What would be done, and the seconds until then."""
    stopped: str = ""
    """Why something, or everything, is not done."""
    noticed: frozenset[tuple[str, str]] = frozenset()
    """(uid, check) of all that was found, whether its time has come or not."""
    left_open: str = ""
    """Which pods could not be judged while all others were, and why."""


@dataclass(frozen=True, slots=True)
class Questions:
    """What the list of active task instances leaves open."""

    tasks: frozenset[TaskKey]
    """To be asked for one by one."""
    oldest_age: float
    """Seconds; the age of the oldest pod that only labels name, that may be judged and that no active task instance
    owns. 0: there is none."""
    retries_of: frozenset[tuple[str, str]] = frozenset()
    """Tasks by DAG and task whose retries matter."""


def questions(world: World, rules: Rules) -> Questions:
    """What must be asked besides the active task instances, so that `decide` can judge every pod."""
    tasks: set[TaskKey] = set()
    oldest = 0.0
    for pod, _ in facts_of(world, rules):
        if pod.identity is not None:
            if not pod.known:
                tasks.add(key_of(pod.identity))
        elif pod.claim == "upstream" and pod.absent:
            oldest = max(oldest, pod.age)
    for gone in world.vanished:
        if key_of(gone.identity) not in world.airflow.tasks:
            tasks.add(key_of(gone.identity))
    return Questions(frozenset(tasks), oldest, _retries_of(world) if rules.retry_lost else frozenset())


def _retries_of(world: World) -> frozenset[tuple[str, str]]:
    """Of the tasks that may have lost their pods."""
    owners = [world.airflow.tasks.get(key_of(gone.identity)) for gone in world.vanished]
    return frozenset(
        (owner.key.dag_id, owner.key.task_id)
        for owner in owners
        if owner is not None and owner.state in WAITING
    )


def decide(world: World, rules: Rules) -> Decision:
    """Every action that is due, within the rules' bounds."""
    troubles = world.troubles
    if troubles and len(troubles) == len(world.clusters):
        return Decision(stopped=f"the pods are not known: {'; '.join(troubles)}")
    if not world.airflow.complete:
        return Decision(stopped=f"Airflow has not answered fully: {world.airflow.trouble or 'no answer'}")
    facts = facts_of(world, rules)
    if _is_stranger([pod for pod, _ in facts], rules):
        return Decision(
            stopped=f"this Airflow knows none of the pods of deployment {rules.deployment}: is it the right one? "
            "If it is, end them with podbay kill"
        )
    found: list[tuple[Finding, Action]] = []
    live = 0
    for pod, siblings in facts:
        live += pod.claim != "shell" and _is_proven(pod, rules) and pod.is_live
        if not _may_judge(pod, world, rules):
            continue
        case = Case(pod=pod, world=world, rules=rules, siblings=siblings)
        found += [(each, _action(each, case)) for each in _findings(case)]
    if not troubles:
        # A pod may be where nothing is known now.
        found += _lost(world, rules, [pod for pod, _ in facts])
    found += _secrets(world, rules)
    due, waiting = [], []
    for finding, action in found:
        left = finding.grace - _age(finding, action.uid, world)
        if left <= 0:
            # Also what rests after a failure: it counts where too much would be done.
            due.append(action)
            left = rest_of(action, world)
        if left > 0:
            waiting.append((action, left))
    actions, stopped = restrain(due, world, rules, live=live)
    stopped = "; ".join(filter(None, [stopped, *(f"pods are not known of {each}" for each in troubles)]))
    noticed = frozenset((action.uid, action.check) for _, action in found)
    return Decision(
        actions=tuple(actions),
        waiting=tuple(waiting),
        stopped=stopped,
        noticed=noticed,
        left_open=_left_open([pod for pod, _ in facts if _may_judge(pod, world, rules)], world),
    )


def _left_open(pods: list[PodFacts], world: World) -> str:
    """What nobody can tell of for all that is over."""
    found = [pod for pod in pods if pod.claim == "upstream" and not pod.known]
    if not world.airflow.left_open or not found:
        return ""
    oldest = max(found, key=lambda pod: pod.age)
    return (
        f"{len(found)} upstream pods are not judged: {world.airflow.left_open}. The oldest is "
        f"{oldest.view.namespace}/{oldest.view.name}, made {metadata_of(oldest.pod).get('creationTimestamp')}: "
        f'end it with podbay kill, or annotate it {KEEP}: "true"'
    )


def _is_stranger(pods: list[PodFacts], rules: Rules) -> bool:
    """Airflow has nothing to do with any of several pods: somebody has likely named the wrong one."""
    ours = [pod for pod in pods if pod.claim == "ours"]
    # Labels are lossy: that one of them fits a task instance says nothing of pods with exact identities.
    return _knows_none(ours) or _knows_none(ours + [pod for pod in pods if _is_upstream(pod, rules)])


def _knows_none(pods: list[PodFacts]) -> bool:
    absent = {task_of(pod) for pod in pods if pod.absent}
    return len(absent) > 1 and not any(pod.owners for pod in pods)


def _may_judge(pod: PodFacts, world: World, rules: Rules) -> bool:
    """It is old enough, nobody holds it, and Airflow was asked after it was seen."""
    if pod.age < rules.young or pod.since > world.airflow.began_at:
        return False
    return not held_until(pod.pod, pod.cluster.now)


def _findings(case: Case) -> list[Finding]:
    """All reports, and of what would be done the first alone."""
    found: list[Finding] = []
    for check in CHECKS:
        each = check(case)
        if each is None:
            continue
        if each.deed != "report" and not _is_proven(case.pod, case.rules):
            each = replace(each, deed="report", message=f"{each.message}. Left alone: {_doubt(case.pod)}")
        if each.deed == "report" or all(other.deed == "report" for other in found):
            found.append(each)
    return found


def _is_proven(pod: PodFacts, rules: Rules) -> bool:
    """The pod is this deployment's beyond doubt."""
    if pod.claim == "ours":
        return rules.name_proves
    if pod.claim == "shell":
        # Whoever shares the name, no task runs in it.
        return True
    return _is_upstream(pod, rules)


def _is_upstream(pod: PodFacts, rules: Rules) -> bool:
    """Made by the upstream operator, and somebody has said that it can only be this Airflow's."""
    return pod.claim == "upstream" and rules.only_airflow


def _doubt(pod: PodFacts) -> str:
    if pod.claim == "damaged":
        return "its labels or annotations are not whole"
    if pod.claim == "upstream":
        return "another Airflow may have made it; --only-airflow says that there is none"
    return "its Airflow has the default name; give it one ([podbay] deployment), or say --only-airflow"


def _age(finding: Finding, uid: str, world: World) -> float:
    if finding.age is not None:
        return finding.age
    return world.moment - world.noticed.get((uid, finding.check), world.moment)


def _action(finding: Finding, case: Case) -> Action:
    pod = case.pod
    return Action(
        deed=finding.deed,
        check=finding.check,
        message=finding.message,
        namespace=pod.view.namespace,
        name=pod.view.name,
        uid=pod.view.uid,
        version=str(metadata_of(pod.pod).get("resourceVersion") or ""),
        is_live=pod.is_live,
        cluster=pod.cluster.name,
        expected=_expected(pod),
        unowned=_unowned(pod, case.world),
    )


def _unowned(pod: PodFacts, world: World) -> Unowned | None:
    """Airflow cannot be asked for a task instance that only labels name; but for what is new since its answer."""
    if pod.identity is not None or not pod.absent:
        return None
    since = world.moment - world.airflow.began_at + _SECOND_LOOK
    return Unowned(labels_key(labels_of(pod.pod)), world.airflow.now - timedelta(seconds=since))


def _expected(pod: PodFacts) -> tuple[tuple[TaskKey, TaskInstance | None], ...]:
    if pod.owners:
        return tuple((owner.key, owner) for owner in pod.owners)
    return ((key_of(pod.identity), None),) if pod.identity is not None else ()


def _secrets(world: World, rules: Rules) -> list[tuple[Finding, Action]]:
    """Secrets that Podbay has made for pods, or to pull their images with."""
    pods = {uid_of(each.pod) for each in world.pods}
    found = []
    known = [each for each in world.clusters if not each.trouble]
    for cluster, secret in [(each, secret) for each in known for secret in each.secrets]:
        for finding in (
            check_leftover(secret, pods=pods, now=cluster.now, rules=rules),
            check_pull_secret(secret, now=cluster.now, rules=rules),
        ):
            if finding is None:
                continue
            action = Action(
                deed=finding.deed,
                check=finding.check,
                message=finding.message,
                namespace=namespace_of(secret),
                name=name_of(secret),
                uid=uid_of(secret),
                version=str(metadata_of(secret).get("resourceVersion") or ""),
                cluster=cluster.name,
                kind="Secret",
                must_be_gone=pod_of(secret),
            )
            found.append((finding, action))
    return found


def _lost(world: World, rules: Rules, pods: list[PodFacts]) -> list[tuple[Finding, Action]]:
    """Tasks whose pod has vanished; not those that have another one, whoever's try that is of."""
    there = {key_of(pod.identity) for pod in pods if pod.identity is not None}
    found = []
    for gone in world.vanished:
        key = key_of(gone.identity)
        if (
            key in there
            or gone.since > world.airflow.began_at
            or gone.identity.deployment != rules.deployment
        ):
            continue
        owner = world.airflow.tasks.get(key)
        finding = check_lost(gone, owner, world, rules)
        if finding is None:
            continue
        deed = finding.deed if rules.name_proves else "report"
        action = Action(
            deed=deed,
            check=finding.check,
            message=finding.message,
            namespace=gone.namespace,
            name=gone.name,
            uid=gone.uid,
            cluster=gone.cluster,
            expected=((key, owner),),
        )
        found.append((finding, action))
    return found
