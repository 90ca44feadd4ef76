"""What `podbay heal` does and prints: one round, or the service."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from podbay.aio.clock import Clock, SystemClock
from podbay.cli.output import Output, console, errors, print_json, print_line, print_table
from podbay.cli.target import connect
from podbay.healer.airflow_api import AirflowLogin
from podbay.healer.endpoint import serve
from podbay.healer.process import OtherCluster, leader_of, reconciler_of
from podbay.healer.reconciler import Reconciler, Round
from podbay.healer.restraint import Action
from podbay.healer.rules import Rules
from podbay.healer.service import Service
from podbay.kube.config import ClusterConfig
from podbay.kube.lease import LeasedCluster

if TYPE_CHECKING:
    from podbay.healer.telemetry import Telemetry

__all__ = ["Healing", "names_of", "print_round"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Healing:
    """One deployment's healer, as it was asked for."""

    configs: Sequence[ClusterConfig]
    """Of all clusters of the deployment; the lease is in the first."""
    rules: Rules
    login: AirflowLogin
    dry_run: bool = False
    logs: Path | None = None
    """Airflow's base_log_folder."""
    otlp: str = ""
    """Where OpenTelemetry's collector listens."""

    @property
    def config(self) -> ClusterConfig:
        return self.configs[0]

    async def once(self) -> Round:
        """One round. Raises what the cluster says."""
        async with AsyncExitStack() as stack:
            clock = SystemClock()
            telemetry = self._telemetry(stack)
            _, reconciler = await self._open(stack, clock)
            began = clock.now()
            last = await reconciler.round(dry_run=self.dry_run)
            if telemetry is not None:
                telemetry.round(last, began, clock.now())
            return last

    async def serve(self, *, interval: float, metrics: tuple[str, int] | None, output: Output) -> None:
        """Round after round until it is cancelled. metrics: the address and port to serve them on."""
        clock = SystemClock()
        async with AsyncExitStack() as stack:
            cluster, reconciler = await self._open(stack, clock)
            leader = leader_of(
                cluster.client, self.config.namespace, deployment=self.rules.deployment, clock=clock
            )

            def tell(last: Round) -> None:
                if output is Output.json:
                    print_line(_round_json(last))
                elif self.dry_run:
                    # Nothing is done, so nothing is logged.
                    print_round(last, output, dry_run=True)

            service = Service(
                reconciler,
                leader,
                clock,
                interval=interval,
                dry_run=self.dry_run,
                told=tell,
                telemetry=self._telemetry(stack),
            )
            if metrics is not None:
                address, port = metrics
                serving = serve(port, service.metrics.text, service.ailment, service.hang, address=address)
                port = await stack.enter_async_context(serving)
                shown = f"[{address}]" if ":" in address else address
                errors.print(f"metrics: http://{shown}:{port}/metrics", markup=False)
            await service.run()

    def _telemetry(self, stack: AsyncExitStack) -> Telemetry | None:
        if not self.otlp:
            return None
        from podbay.healer.telemetry import Telemetry

        found = Telemetry(self.otlp, deployment=self.rules.deployment)
        stack.callback(found.close)
        return found

    async def _open(self, stack: AsyncExitStack, clock: Clock) -> tuple[LeasedCluster, Reconciler]:
        cluster = await stack.enter_async_context(connect(self.config))
        names = names_of(self.configs)
        others = []
        for name, config in list(zip(names, self.configs, strict=True))[1:]:
            found = await stack.enter_async_context(connect(config))
            others.append(OtherCluster(name, found, config.namespace))
        opening = reconciler_of(
            cluster,
            self.config.namespace,
            rules=self.rules,
            login=self.login,
            clock=clock,
            others=others,
            logs=self.logs,
        )
        return cluster, await stack.enter_async_context(opening)


def names_of(configs: Sequence[ClusterConfig]) -> list[str]:
    """What to call each of several clusters, one name for each; nothing where there is only one."""
    if len(configs) == 1:
        return [""]
    names = [config.context or config.server for config in configs]
    if len(set(names)) < len(names):
        # Kubeconfigs of their own, whose contexts are called alike.
        names = [config.server for config in configs]
    return names


def print_round(last: Round, output: Output, *, dry_run: bool) -> None:
    """What was done, what will be, and why nothing is."""
    if output is Output.json:
        print_json(_round_json(last))
        return
    decision = last.decision
    rows = [_row(done.action, done.result) for done in last.done]
    if dry_run:
        rows = [_row(action, "would be done") for action in decision.actions]
    rows += [_row(action, f"in {int(left) + 1}s") for action, left in decision.waiting]
    if rows:
        print_table(("POD", "WHAT", "CHECK", "RESULT", "WHY"), rows)
    if decision.stopped:
        errors.print(f"held back: {decision.stopped}", markup=False)
    if decision.left_open:
        errors.print(f"left open: {decision.left_open}", markup=False)
    if not (rows or decision.stopped):
        console.print(f"{last.pods} task pods, nothing to do.", markup=False)


def _row(action: Action, result: str) -> list[str]:
    where = f"{action.cluster} " if action.cluster else ""
    name = action.name if action.kind == "Pod" else f"secret {action.name}"
    return [where + name, action.deed.replace("_", " "), action.check, result, action.message]


def _round_json(last: Round) -> dict[str, Any]:
    return {
        "pods": last.pods,
        "seconds": round(last.seconds, 3),
        "stopped": last.decision.stopped or None,
        "left_open": last.decision.left_open or None,
        "actions": [_action_json(action) for action in last.decision.actions],
        "waiting": [
            {**_action_json(action), "seconds": round(left)} for action, left in last.decision.waiting
        ],
        "done": [
            {**_action_json(done.action), "result": done.result, "error": done.text or None}
            for done in last.done
        ],
    }


def _action_json(action: Action) -> dict[str, Any]:
    return {
        "deed": action.deed,
        "check": action.check,
        "cluster": action.cluster or None,
        "namespace": action.namespace,
        "kind": action.kind,
        "pod": action.name,
        "uid": action.uid,
        "message": action.message,
    }
