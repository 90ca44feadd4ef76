"""Containers that ended: the task's own, those before it and those beside it; and pods that somebody deleted.

Sources: pkg/kubelet/kuberuntime/kuberuntime_manager.go (computePodActions: the texts of Killing), prober/, lifecycle hooks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from podbay.lifecycle.diagnosis import image_rules
from podbay.lifecycle.diagnosis.category import Category
from podbay.lifecycle.diagnosis.exits import Exit, explain, how_stopped
from podbay.lifecycle.diagnosis.images import architecture_line
from podbay.lifecycle.diagnosis.model import Diagnosis
from podbay.lifecycle.diagnosis.sight import Ended, Seen, Sight, Told
from podbay.lifecycle.diagnosis.starting import START_REASONS
from podbay.pods.result import RESULT_PATH

__all__ = ["CATEGORIES", "KEEP_THE_NEXT", "find_beside", "find_deletion", "find_endings"]

LIVENESS: Final = Category(
    word="LivenessProbeFailed",
    meaning="The container did not answer its liveness probe, and the kubelet ended it.",
    fix="Take the liveness probe away (tasks rarely need one), or give it more time and failures.",
    blame="user",
    heals="never",
)
STARTUP: Final = Category(
    word="StartupProbeFailed",
    meaning="The container did not pass its startup probe in time, and the kubelet ended it.",
    fix="Raise `startupProbe.failureThreshold` or `periodSeconds`, or correct what the probe asks.",
    blame="user",
    heals="never",
)
POST_START: Final = Category(
    word="PostStartHookFailed",
    meaning="The container's postStart hook failed, and the kubelet ended the container.",
    fix="Correct `lifecycle.postStart`; run its command by hand in the image.",
    blame="user",
    heals="never",
)
INIT: Final = Category(
    word="InitContainerFailed",
    meaning="An init container failed, so the task never began.",
    fix="Read the init container's log: it says why.",
    blame="user",
    heals="never",
)
CRASHES: Final = Category(
    word="CrashLoop",
    meaning="A container ends again and again, and is started again with growing pauses.",
    fix="Read the container's log; set the pod's `restartPolicy` to Never, so that Airflow's own retries count.",
    blame="user",
    heals="maybe",
)
SIDECAR: Final = Category(
    word="SidecarFailed",
    meaning="A container beside the task's failed, or does not get ready and holds up the task.",
    fix="Read that container's log; if the task can do without it, leave it out.",
    blame="user",
    heals="maybe",
)
HUNG: Final = Category(
    word="SidecarHung",
    meaning="The task's container has ended, and another one does not, so the pod goes on.",
    fix="Make it a native sidecar (an init container with `restartPolicy: Always`), which ends with the pod.",
    blame="user",
    heals="maybe",
)
REQUESTED: Final = Category(
    word="KilledOnRequest",
    meaning="Somebody asked for the task's end: a kill, a cleared task, Ctrl-C.",
    fix="Start it again if that was not meant.",
    blame="user",
    heals="never",
)
DELETED: Final = Category(
    word="DeletedBySomeone",
    meaning="Somebody else deleted the pod before its task had ended.",
    fix="Find out who deletes pods here (the cluster's audit log tells): a person, a cleaner, a namespace that was deleted.",
    blame="platform",
    heals="never",
)

KEEP_THE_NEXT: Final = (
    "Podbay deletes the pods of finished tasks; how it ended is in the task's log. Keep the next one: "
    'on_finish_action="keep_pod", hold_on_failure=timedelta(…), or podbay pod run --keep on_failure.'
)
"""What to say of a pod that is looked for after its end."""
VANISHED: Final = Category(
    word="PodNotThere",
    meaning="The pod that is looked at was there, and is not any more; nobody saw a task suffer from it.",
    fix=KEEP_THE_NEXT,
    blame="user",
    heals="never",
)

CATEGORIES: Final = (
    LIVENESS,
    STARTUP,
    POST_START,
    INIT,
    CRASHES,
    SIDECAR,
    HUNG,
    REQUESTED,
    DELETED,
    VANISHED,
)
_EVENTS_OF_THE_GONE: Final = 5
_ELF: Final = "exec format error"
_PROBES: Final = {
    "Liveness probe failed": "failed liveness probe",
    "Liveness probe errored": "failed liveness probe",
    "Startup probe failed": "failed startup probe",
    "Startup probe errored": "failed startup probe",
}


def find_endings(sight: Sight) -> Iterator[Diagnosis]:
    """How the task's container ended, or the init container without which it never began."""
    for each in sight.containers:
        if each.kind == "init" and each.ended is not None and each.ended.code != 0 and not _never_ran(each):
            yield _init(sight, each, each.ended)
    main = sight.main
    if main is None or main.ended is None or _never_ran(main):
        return
    if main.ended.code == 0 and main.ended.reason != "OOMKilled":
        return
    found = _of_main(sight, main, main.ended)
    if found is not None:
        yield found


def _comes_again(sight: Sight, seen: Seen) -> bool:
    """Whether the kubelet starts it again, which may go better."""
    policy = seen.spec.get("restartPolicy") or sight.spec.get("restartPolicy") or "Always"
    return policy != "Never" and not sight.over and sight.deletion_asked is None


def _never_ran(seen: Seen) -> bool:
    return seen.ended is not None and seen.ended.reason in START_REASONS


def _of_main(sight: Sight, main: Seen, ended: Ended) -> Diagnosis | None:
    evidence = [main.line(), _last_words(main, ended)]
    who = f"Container {main.name} of {sight.name}"
    by_kubelet = _by_kubelet(sight, main)
    if by_kubelet is not None and ended.reason != "OOMKilled":
        category, words, told = by_kubelet
        return category.found(f"{who} {words}", evidence=[*evidence, *told], container=main.name)
    if _ELF in " ".join((ended.message, *sight.last_lines)).lower():
        cause = f"A program of container {main.name} of {sight.name} is not built for the node's processor (image {main.image})"
        evidence.append(architecture_line(sight))
        return image_rules.ARCHITECTURE.found(cause, evidence=evidence, container=main.name)
    meaning = explain(sight, main, ended)
    if meaning is None:
        return None
    evidence += meaning.evidence
    found = meaning.category.found(
        f"{who} {meaning.words}", fix=meaning.fix, evidence=evidence, container=main.name
    )
    if _comes_again(sight, main):
        cause = f"{who} ends again and again ({main.restarts} times until now): it {meaning.words}"
        return CRASHES.found(cause, evidence=found.evidence, container=main.name)
    return found


def _last_words(seen: Seen, ended: Ended) -> str:
    """The termination message, unless the task's result travels in it: that is data, not words."""
    if not ended.message or seen.spec.get("terminationMessagePath") == RESULT_PATH:
        return ""
    return f"its last words: {ended.message}"


def _by_kubelet(sight: Sight, seen: Seen) -> tuple[Category, str, list[str]] | None:
    """Ends that the kubelet brought about for the container's own probes and hooks."""
    unhealthy = [told.message for told in sight.told("Unhealthy", container=seen.name)]
    for told in sight.told("Killing", container=seen.name):
        # Of a container that is not started again the kubelet says only that it stops it; the probe speaks for itself.
        plain = told.message.startswith("Stopping container") and sight.deletion_asked is None
        message = told.message if not plain or not unhealthy else _PROBES.get(unhealthy[0].split(":")[0], "")
        if "failed liveness probe" in message:
            return (
                LIVENESS,
                "did not answer its liveness probe and was ended",
                _lines(sight, seen, "Unhealthy", told),
            )
        if "failed startup probe" in message:
            return (
                STARTUP,
                "did not pass its startup probe in time and was ended",
                _lines(sight, seen, "Unhealthy", told),
            )
        if "FailedPostStartHook" in told.message:
            lines = _lines(sight, seen, "FailedPostStartHook", told)
            return POST_START, "was ended because its postStart hook failed", lines
    return None


def _lines(sight: Sight, seen: Seen, reason: str, told: Told) -> list[str]:
    return [told.line(), *(each.line() for each in sight.told(reason, container=seen.name)[:1])]


def _init(sight: Sight, seen: Seen, ended: Ended) -> Diagnosis:
    meaning = explain(sight, seen, ended)
    words = meaning.words if meaning is not None else "ended"
    evidence = [seen.line(), _last_words(seen, ended)]
    if _comes_again(sight, seen):
        cause = f"Init container {seen.name} of {sight.name} ends again and again: it {words}"
        return CRASHES.found(cause, evidence=evidence, container=seen.name)
    cause = f"Init container {seen.name} of {sight.name} {words}, so the task never began"
    fix = meaning.fix or meaning.category.fix if meaning is not None and ended.reason == "OOMKilled" else ""
    return INIT.found(cause, fix=fix, evidence=evidence, container=seen.name)


def find_deletion(sight: Sight) -> Iterator[Diagnosis]:
    """A pod that was ended by us or by somebody, unless its task had ended before."""
    context = sight.facts.context
    by = context.get("killed_by")
    asked = sight.deletion_asked
    if by:
        who = "" if by == "us" else f" by {by}"
        yield REQUESTED.found(f"{_upper(sight.name)} was ended on request{who}", evidence=_ends(sight))
        return
    if context.get("vanished") is True:
        said = [told.line() for told in sight.events[-_EVENTS_OF_THE_GONE:]]
        cause = f"{_upper(sight.name)} is not there any more"
        yield VANISHED.found(cause, evidence=said)
        return
    gone = context.get("gone") is True
    if not gone and (asked is None or sight.ended_before(asked) or sight.over):
        return
    if gone and sight.main is not None and sight.main.ended is not None and asked is None:
        return
    evidence = _ends(sight)
    if asked is not None:
        evidence.append(f"deletion was asked for at {asked.strftime('%Y-%m-%dT%H:%M:%SZ')}")
    words = "does not exist any more" if gone else "is being deleted"
    yield DELETED.found(f"{_upper(sight.name)} {words}, and it was not us who deleted it", evidence=evidence)


def _ends(sight: Sight) -> list[str]:
    main = sight.main
    lines = [main.line()] if main is not None and (main.ended is not None or main.running) else []
    return [*lines, how_stopped(sight), *(told.line() for told in sight.told("Killing")[:1])]


def find_beside(sight: Sight) -> Iterator[Diagnosis]:
    """Containers other than the task's that failed or do not end."""
    main = sight.main
    done = main is not None and main.ended is not None and not main.running and main.waiting is None
    for each in sight.containers:
        if each.kind not in ("beside", "sidecar"):
            continue
        if each.kind == "beside" and each.running and done and not sight.over:
            cause = f"Container {each.name} of {sight.name} still runs, though the task's container has ended"
            yield HUNG.found(cause, evidence=[each.line()], container=each.name)
        elif each.ended is not None and not each.running and not _never_ran(each):
            meaning = explain(sight, each, each.ended)
            if meaning is not None and (each.kind == "beside" or not done):
                yield _sidecar(sight, each, meaning)
        elif each.kind == "sidecar" and each.running and _is_unready(sight, each):
            cause = f"Sidecar {each.name} of {sight.name} does not pass its startup probe, and the task waits for it"
            lines = [told.line() for told in sight.told("Unhealthy", container=each.name)[:1]]
            yield SIDECAR.found(cause, evidence=[each.line(), *lines], container=each.name)


def _sidecar(sight: Sight, seen: Seen, meaning: Exit) -> Diagnosis:
    ended = seen.ended
    assert ended is not None
    evidence = [
        replace(seen, waiting=None).line(),
        _last_words(seen, ended),
    ]
    cause = f"Container {seen.name} of {sight.name}, beside the task, {meaning.words}"
    return SIDECAR.found(cause, evidence=evidence, container=seen.name)


def _is_unready(sight: Sight, seen: Seen) -> bool:
    return not (sight.main is not None and sight.main.begun) and bool(seen.spec.get("startupProbe")) and bool(
        sight.told("Unhealthy", container=seen.name)
    )  # fmt: skip


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
