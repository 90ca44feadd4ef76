"""`podbay pod run`: the engine with a terminal as its driver. What is decided is decided in podbay.lifecycle.

Ctrl-C (or SIGTERM) ends the pod and waits for its end; a second one leaves at once. A reader of the log who goes away
counts as Ctrl-C: nobody would learn how the pod ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import secrets
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from podbay.cli.cluster_words import origin
from podbay.cli.log_writer import LogWriter
from podbay.cli.option_words import in_options
from podbay.cli.output import EXIT_INTERRUPTED, print_json, run
from podbay.cli.pod_request import pod_request
from podbay.cli.pod_words import PodWords, Result
from podbay.cli.progress import Progress
from podbay.cli.target import choose, connect
from podbay.embedded import process
from podbay.embedded.home import ClusterHome
from podbay.errors import PodbayError
from podbay.kube.config import ClusterConfig
from podbay.kube.logs import LogBatch
from podbay.lifecycle.diagnosis.admission_rules import UNAUTHORIZED
from podbay.lifecycle.engine import Driver, PodRun
from podbay.lifecycle.outcome import Outcome
from podbay.lifecycle.plan import Deadlines, PodPlan
from podbay.lifecycle.state import Phase
from podbay.objects.meta import Object
from podbay.pods.build import build_pod
from podbay.pods.identity import with_suffix
from podbay.pods.request import PodRequest, Unset
from podbay.pods.sidecar import SIDECAR_NAME

if TYPE_CHECKING:
    from podbay.cli.pod import RunWords

__all__ = ["Wanted", "run_to_the_end"]

RUN_ANNOTATION: Final = "podbay.dev/run"
"""Tells two runs with the same --name apart; the client recognises its own pod by it when an answer was lost."""
_SUFFIX_BYTES = 3
_WORDS: Final[dict[Phase, str]] = {
    "creating": "creating",
    "queued": "waiting in a queue",
    "scheduling": "waiting for the scheduler",
    "unschedulable": "waiting for a node",
    "pulling": "waiting for its image",
    "initializing": "init containers run",
    "starting": "starting",
    "running": "running",
    "result": "reading log and result",
    "replacing": "lost by the infrastructure, another one follows",
    "cleaning": "removing it",
}
_WAITS: Final = ("queued", "unschedulable", "pulling", "replacing")
"""Phases that are told without a terminal, too."""


@dataclass(frozen=True)
class Wanted:
    """What was asked for."""

    words: PodWords
    patience: RunWords
    command: Sequence[str]
    as_json: bool

    def request(self, namespace: str | None, default_namespace: str | None, token: str) -> PodRequest:
        found = pod_request(
            self.words,
            self.command,
            namespace=namespace,
            default_namespace=default_namespace,
            name_suffix=token,
        )
        given = {} if isinstance(found.annotations, Unset) or found.annotations is None else found.annotations
        return replace(found, annotations={**given, RUN_ANNOTATION: token})


def run_to_the_end(wanted: Wanted, cluster: str | None, namespace: str | None) -> int:
    """Run the pod; gives the exit code. Raises PodbayError for what is wrong before there is a pod."""
    token = secrets.token_hex(_SUFFIX_BYTES)
    # A slip on the command line shows before a cluster is started for it.
    build_pod(wanted.request(namespace, None, token))
    config = choose(cluster, namespace, start=lambda home: _start(home, quiet=wanted.patience.quiet))
    plan = _plan(wanted, wanted.request(namespace, config.namespace, token))
    return run(_run(config, plan, wanted))


def _start(home: ClusterHome, *, quiet: bool) -> None:
    if not quiet:
        Progress().say(f"Starting the embedded cluster {home.name}. Stop it later: podbay cluster stop")
    try:
        process.start_background(
            home, process.to_arguments(host="127.0.0.1", port=0, nodes=None, runtime="auto")
        )
    except PodbayError:
        # Somebody else was faster.
        if not home.is_running():
            raise


def _plan(wanted: Wanted, request: PodRequest) -> PodPlan:
    patience = wanted.patience
    return PodPlan(
        build=lambda incarnation: build_pod(_incarnation(request, incarnation)),
        container=request.container_name,
        result=request.result,
        deadlines=Deadlines(
            queue=_limit(patience.queue_timeout),
            schedule=_limit(patience.schedule_timeout),
            start=_limit(patience.start_timeout),
            run=_limit(patience.timeout),
        ),
        keep=patience.keep.value,
        checked_label=False,
    )


def _limit(seconds: float | None) -> float | None:
    return None if seconds is None or math.isinf(seconds) else seconds


def _incarnation(request: PodRequest, number: int) -> PodRequest:
    if number == 0:
        return request
    if request.exact_name and isinstance(request.name, str):
        return replace(request, name=with_suffix(request.name, str(number + 1)))
    return replace(request, name_suffix=f"{request.name_suffix}-{number + 1}")


async def _run(config: ClusterConfig, plan: PodPlan, wanted: Wanted) -> int:
    terminal = _Terminal(plan.build(0), wanted, f"{config.server} ({origin(config)})")
    async with connect(config) as cluster:
        terminal.run = PodRun(cluster, plan, terminal)
        with terminal.signals():
            outcome = await terminal.run.run()
    return terminal.finish(outcome)


class _Terminal(Driver):
    """Shows the run to a person."""

    def __init__(self, manifest: Object, wanted: Wanted, cluster: str) -> None:
        self._cluster = cluster
        self.run: PodRun | None = None
        self._wanted = wanted
        spec = manifest["spec"]
        shown = [
            each
            for each in (*(spec.get("initContainers") or ()), *spec["containers"])
            if each["name"] != SIDECAR_NAME
        ]
        self._log_on_stdout = not wanted.as_json and wanted.words.result is Result.none
        self._log = LogWriter(sys.stdout if self._log_on_stdout else sys.stderr, names=len(shown) > 1)
        self._progress = Progress(quiet=wanted.patience.quiet)
        self._on_terminal = sys.stderr.isatty()
        self._signal: int | None = None
        self._unread = False

    # -- what the engine tells

    async def phase(self, phase: Phase, text: str) -> None:
        if phase in ("new", "done", "running") and not text:
            self._progress.clear()
        elif self._on_terminal or phase in _WAITS or text:
            name = self.run.state.name if self.run is not None else ""
            words = _WORDS.get(phase, phase)
            what = f"{words}: {text}" if text and phase in (*_WAITS, "starting") else text or words
            self._progress.show(f"{name}: {what}" if name else what)

    async def lines(self, batch: LogBatch) -> None:
        if self._unread:
            return
        self._progress.clear()
        try:
            self._log.write(batch.lines)
        except BrokenPipeError:
            self._unread = True
            self._ask("nobody reads its log any more")

    # -- how a person ends it

    @contextmanager
    def signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGINT, signal.SIGTERM)
        for number in numbers:
            loop.add_signal_handler(number, self._interrupted, number)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)

    def _interrupted(self, number: int) -> None:
        if self._signal is not None:
            self._leave(number)
        self._signal = number
        self._progress.say("Ending the pod. Once more leaves at once.")
        self._ask("Ctrl-C" if number == signal.SIGINT else "SIGTERM")

    def _ask(self, by: str) -> None:
        if self.run is not None:
            self.run.kill(by)

    def _leave(self, number: int) -> None:
        state = self.run.state if self.run is not None else None
        if state is not None and state.name:
            pod = f"{state.namespace}/{state.name}" if state.namespace else state.name
            self._progress.say(f"Left. Pod {pod} may still be there; end it: podbay kill {pod}")
        else:
            self._progress.say("Left. A pod may have been made; see: podbay pods")
        with contextlib.suppress(BrokenPipeError):
            sys.stdout.flush()
        # Tidying up is what the person does not want to wait for.
        os._exit(128 + number)

    # -- how it ended

    def finish(self, outcome: Outcome) -> int:
        """Print what is asked for; gives the exit code."""
        self._progress.clear()
        self._log.end_line()
        if self._unread:
            raise BrokenPipeError
        if self._wanted.as_json:
            print_json(outcome.to_json())
        elif outcome.result is not None:
            sys.stdout.flush()
            sys.stdout.buffer.write(outcome.result.rstrip(b"\n") + b"\n")
            sys.stdout.buffer.flush()
        if not outcome.ok:
            self._progress.say(f"error: {in_options(outcome.message)}{self._where(outcome)}")
            for line in _evidence(outcome):
                self._progress.say(f"  {line}")
        elif outcome.result is None and self._wanted.words.result is not Result.none:
            self._progress.say("note: the task wrote no result")
        return self._code(outcome)

    def _where(self, outcome: Outcome) -> str:
        """The cluster, when it is its login that has to be mended."""
        found = outcome.diagnosis
        return f" It is {self._cluster}." if found is not None and found.category == UNAUTHORIZED.word else ""

    def _code(self, outcome: Outcome) -> int:
        if outcome.kind == "killed":
            return EXIT_INTERRUPTED if self._signal is None else 128 + self._signal
        if outcome.kind in ("succeeded", "failed", "oom_killed") and outcome.exit_code is not None:
            return outcome.exit_code if 0 <= outcome.exit_code < 256 else 1
        return 1


def _evidence(outcome: Outcome) -> Sequence[str]:
    """What the fix says to read: the pod that could tell it is mostly gone by now."""
    found = outcome.diagnosis
    return found.evidence if found is not None and "evidence" in found.fix else ()
