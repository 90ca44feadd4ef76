"""What an exit code says, and which process it speaks of.

Codes above 128 are 128 plus a signal, of the container's first process, or of a child whose code a shell passed on. 137
(SIGKILL) may come from the kernel (memory), from the kubelet (its patience was over) or from anybody else; the code alone
does not tell, so what stands beside it is looked at. Sources: wait(2), POSIX sh (126, 127), containerd's OOM events,
pkg/kubelet/kuberuntime (killContainer, ContainerStatusUnknown), node-problem-detector and the kubelet's OOM watcher.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from podbay.lifecycle.diagnosis.category import Category
from podbay.lifecycle.diagnosis.reading import as_int
from podbay.lifecycle.diagnosis.sight import Ended, Seen, Sight
from podbay.lifecycle.diagnosis.starting import NOT_EXECUTABLE, NOT_FOUND

__all__ = ["CATEGORIES", "UNKNOWN_KILLER", "Exit", "explain", "how_stopped"]

OOM: Final = Category(
    word="OOMKilled",
    meaning="The container used more memory than its limit, and the kernel killed it.",
    fix="Raise `resources.limits.memory` (and the request with it), or make the task use less memory.",
    blame="user",
    heals="never",
)
OOM_CHILD: Final = Category(
    word="OOMKilledChild",
    meaning="The kernel killed a child process for the container's memory limit; the first process ended by itself after that.",
    fix="Raise `resources.limits.memory` (and the request with it), or start fewer worker processes.",
    blame="user",
    heals="never",
)
OOM_NODE: Final = Category(
    word="OOMKilledByNode",
    meaning="The node itself ran out of memory, and the kernel killed the container, which has no limit or was below it.",
    fix="Set `resources.requests.memory` and `limits.memory`, so that the scheduler keeps room for the task.",
    blame="platform",
    heals="never",
)
SIGKILL: Final = Category(
    word="Sigkilled",
    meaning="A process was killed by SIGKILL (exit code 137), and nothing tells by whom.",
    fix="Look at the end of the log; a child that ran out of memory, `kill -9` in a script, or a dying node are the usual causes.",
    blame="user",
    heals="never",
)
SIGTERM: Final = Category(
    word="Sigtermed",
    meaning="The container was asked to end by SIGTERM (exit code 143), though nobody deleted the pod.",
    fix="Look at the end of the log for who sent it: a script's `kill`, a time-out in the program, a node that shuts down.",
    blame="user",
    heals="never",
)
SEGFAULT: Final = Category(
    word="SegmentationFault",
    meaning="The program touched memory that is not its own (SIGSEGV, exit code 139).",
    fix="Look at native libraries of the image: versions that do not fit together, or built for another processor.",
    blame="user",
    heals="never",
)
ABORTED: Final = Category(
    word="Aborted",
    meaning="The program ended itself by abort() (SIGABRT, exit code 134).",
    fix="Look at the end of the log for the failed check; out of memory in a C++ or Java program ends this way too.",
    blame="user",
    heals="never",
)
BUS: Final = Category(
    word="BusError",
    meaning="The program lost memory it had mapped (SIGBUS, exit code 135), most often because /dev/shm is full.",
    fix="Mount an emptyDir with `medium: Memory` at /dev/shm; a container gets 64 MiB there otherwise.",
    blame="user",
    heals="never",
)
INSTRUCTION: Final = Category(
    word="IllegalInstruction",
    meaning="The program uses an instruction that the node's processor does not have (SIGILL, exit code 132).",
    fix="Use a build for older processors (without AVX and the like), or choose newer nodes.",
    blame="user",
    heals="never",
)
PIPE: Final = Category(
    word="BrokenPipe",
    meaning="The program wrote to a pipe or connection that nobody reads any more (SIGPIPE, exit code 141).",
    fix="In a shell with `pipefail`, let the reader of the pipe read to the end.",
    blame="user",
    heals="never",
)
INTERRUPTED: Final = Category(
    word="Interrupted",
    meaning="The program was interrupted (SIGINT, exit code 130).",
    fix="Look at the end of the log for who interrupted it.",
    blame="user",
    heals="never",
)
SIGNAL: Final = Category(
    word="KilledBySignal",
    meaning="The program was ended by another signal (exit code 128 and the signal's number).",
    fix="Look at the end of the log; `kill -l NUMBER` names the signal.",
    blame="user",
    heals="never",
)
CODE: Final = Category(
    word="ExitCode",
    meaning="The program ended by itself with an exit code other than 0.",
    fix="Read the end of the log: the program says why.",
    blame="user",
    heals="never",
)
UNKNOWN: Final = Category(
    word="ContainerStatusUnknown",
    meaning="The kubelet lost the container and does not know how it ended.",
    fix="Try again; the node restarted or its container store was cleared.",
    blame="infrastructure",
    heals="never",
)

CATEGORIES: Final = (
    OOM, OOM_CHILD, OOM_NODE, SIGKILL, SIGTERM, SEGFAULT, ABORTED, BUS, INSTRUCTION, PIPE, INTERRUPTED, SIGNAL, CODE, UNKNOWN,
)  # fmt: skip

_SIGNALS: Final[dict[int, tuple[Category, str]]] = {
    2: (INTERRUPTED, "was interrupted (SIGINT)"),
    4: (INSTRUCTION, "used an instruction that the node's processor does not have (SIGILL)"),
    6: (ABORTED, "aborted itself (SIGABRT)"),
    7: (BUS, "lost memory it had mapped (SIGBUS)"),
    11: (SEGFAULT, "touched memory that is not its own (SIGSEGV)"),
    13: (PIPE, "wrote to a pipe that nobody reads (SIGPIPE)"),
    15: (SIGTERM, "was asked to end by SIGTERM, and nobody deleted the pod"),
}
_LAST_SIGNAL: Final = 64
UNKNOWN_KILLER: Final = frozenset({SIGKILL.word, SIGTERM.word})
"""What is said of a kill only while nobody else is known to have ended the pod."""
_SHELL: Final = re.compile(
    r"sh: (?:line \d+: |\d+: )?(?P<program>[^\s:]+): (?:command |Permission )?(?:not found|denied)",
    re.IGNORECASE,
)
"""How bash, dash and busybox say it: `sh: 1: nope: not found`, `bash: line 1: nope: command not found`."""
_VICTIM: Final = re.compile(r"victim process: (?P<a>[^,]+), pid|Killed process \d+ \((?P<b>[^)]+)\)")


@dataclass(frozen=True, slots=True)
class Exit:
    """The meaning of one end: words go on after "Container NAME …"."""

    category: Category
    words: str
    fix: str = ""
    evidence: tuple[str, ...] = ()


def explain(sight: Sight, seen: Seen, ended: Ended) -> Exit | None:
    """Why that container ended as it did; None when it ended well."""
    if ended.reason == "ContainerStatusUnknown" or (ended.reason == "Unknown" and ended.code == 255):
        return Exit(UNKNOWN, "was lost by its node: how it ended is not known")
    memory = _memory(sight, seen, ended)
    if memory is not None:
        return memory
    code = ended.code
    if code == 0:
        return None
    if code in (126, 127):
        return _by_shell(sight, seen, code)
    if code == 137:
        return Exit(
            SIGKILL,
            "ended with exit code 137: it or its child was killed by SIGKILL, and nothing tells by whom",
        )
    signal = code - 128
    if signal in _SIGNALS:
        category, words = _SIGNALS[signal]
        return Exit(category, f"{words}, exit code {code}")
    if 0 < signal <= _LAST_SIGNAL:
        return Exit(SIGNAL, f"was ended by signal {signal}, exit code {code}")
    meaning = {
        2: ", which many programs use for wrong arguments",
        255: ", which is what exit(-1) becomes",
    }.get(code, "")
    return Exit(CODE, f"ended with exit code {code}{meaning}")


def _by_shell(sight: Sight, seen: Seen, code: int) -> Exit:
    """What POSIX shells end with for a program they cannot run; its name stands in the log alone."""
    lines = sight.last_lines if seen.kind == "main" else ()
    match = next((m for m in map(_SHELL.search, reversed(lines)) if m is not None), None)
    name = f'"{match["program"]}"' if match is not None else "a program"
    where = "" if match is not None else "Look at the end of the log for the name; "
    told = (f"the log says: {match.string}",) if match is not None else ()
    if code == 127:
        fix = f"{where}correct it in `command` or in the script, or install the program in the image."
        words = f"ended with exit code 127: its shell did not find {name}"
        return Exit(NOT_FOUND, words, fix[:1].upper() + fix[1:], told)
    fix = f"{where}make the file executable (`chmod +x`) and fit for the node's processor."
    words = f"ended with exit code 126: its shell found {name} and could not execute it"
    return Exit(NOT_EXECUTABLE, words, fix[:1].upper() + fix[1:], told)


def _memory(sight: Sight, seen: Seen, ended: Ended) -> Exit | None:
    """Ends for want of memory, by the process that was killed."""
    limit = seen.limit("memory")
    bound = (
        f"it used more than its memory limit of {limit}"
        if limit
        else ("its node or pod had no memory left (the container has no limit of its own)")
    )
    if ended.reason == "OOMKilled":
        if ended.code == 137:
            return Exit(OOM, f"was killed because {bound}")
        after = "still ended well" if ended.code == 0 else f"then ended with exit code {ended.code}"
        return Exit(OOM_CHILD, f"lost a child process, which was killed because {bound}; it {after}")
    if ended.code == 0:
        return None
    for told in sight.told("OOMKilling", "SystemOOM"):
        if told.at is not None and ended.at is not None and abs((told.at - ended.at).total_seconds()) > 60:
            continue
        victim = _VICTIM.search(told.message)
        process = f' "{victim["a"] or victim["b"]}"' if victim else ""
        if told.reason == "SystemOOM" and ended.code == 137:
            words = f"was killed when node {sight.node_name} ran out of memory (process{process})"
            return Exit(OOM_NODE, words, evidence=(told.line(),))
        if told.kind == "Pod":
            words = f"lost process{process}, which was killed because {bound}, and ended with exit code {ended.code}"
            return Exit(OOM_CHILD, words, evidence=(told.line(),))
    return None


def how_stopped(sight: Sight) -> str:
    """What the exit code of the task's container says when the kubelet stopped it: whether it obeyed."""
    main = sight.main
    if main is None or main.ended is None:
        return ""
    grace = as_int(sight.metadata.get("deletionGracePeriodSeconds"))
    if grace is None:
        grace = as_int(sight.spec.get("terminationGracePeriodSeconds"))
    within = f" of {grace} s" if grace is not None else ""
    if main.ended.code == 137 and main.ended.reason != "OOMKilled":
        return (
            f"exit code 137: it still ran when its grace period{within} was over, and the kubelet killed it"
        )
    return "exit code 143: it ended on the kubelet's SIGTERM" if main.ended.code == 143 else ""
