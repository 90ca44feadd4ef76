"""Upstream's own operator code, run without Airflow around it: what one task process or triggerer would do with its pods.

sync: `execute_sync` in a thread a pod (Airflow takes a process a task; threads flatter it). deferrable: `execute_async`
up to the deferral, all triggers in one event loop, `trigger_reentry` at the end. Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

os.environ.setdefault("AIRFLOW__CORE__UNIT_TEST_MODE", "False")


class Instance(SimpleNamespace):
    """What the operator asks of a task instance."""

    def xcom_push(self, **_: Any) -> None:
        pass


def context_of(number: int) -> dict[str, Any]:
    instance = Instance(
        dag_id="bench", task_id=f"upstream-{number}", map_index=-1, try_number=1, run_id="run", id=str(number)
    )
    run = SimpleNamespace(run_id="run", logical_date=datetime.now(UTC), dag_id="bench")
    return {
        "ti": instance,
        "task_instance": instance,
        "run_id": "run",
        "dag": SimpleNamespace(dag_id="bench"),
        "dag_run": run,
    }


def operator_of(number: int, options: argparse.Namespace, *, deferrable: bool) -> Any:
    from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator

    return KubernetesPodOperator(
        task_id=f"upstream-{number}",
        name=f"upstream-{number}",
        namespace="default",
        image=options.image,
        cmds=json.loads(options.command),
        annotations=json.loads(options.annotations),
        config_file=options.kubeconfig,
        in_cluster=False,
        deferrable=deferrable,
        do_xcom_push=False,
        get_logs=True,
        reattach_on_restart=False,
        startup_timeout_seconds=3600,
        service_account_name="default",
    )


class Times:
    """When each pod's main container ended, by the cluster's stamps, and when the operator was done with it."""

    def __init__(self) -> None:
        self.done: dict[int, float] = {}
        self.lock = threading.Lock()

    def note(self, number: int) -> None:
        with self.lock:
            self.done[number] = time.time()


def run_sync(options: argparse.Namespace, times: Times) -> None:
    def one(number: int) -> None:
        operator_of(number, options, deferrable=False).execute_sync(context_of(number))
        times.note(number)

    with ThreadPoolExecutor(options.count) as pool:
        list(pool.map(one, range(options.count)))


async def run_deferrable(options: argparse.Namespace, times: Times) -> None:
    from airflow.sdk.exceptions import TaskDeferred

    pool = ThreadPoolExecutor(8)
    loop = asyncio.get_running_loop()

    async def one(number: int) -> None:
        operator = operator_of(number, options, deferrable=True)
        context = context_of(number)
        trigger = await loop.run_in_executor(pool, _deferral, operator, context, TaskDeferred)
        event = await anext(trigger.run())
        resume: Callable[[], Any] = lambda: operator.trigger_reentry(context, event.payload)  # noqa: E731
        await loop.run_in_executor(pool, resume)
        times.note(number)

    await asyncio.gather(*(one(number) for number in range(options.count)))


def _deferral(operator: Any, context: dict[str, Any], deferred: type[BaseException]) -> Any:
    try:
        operator.execute_async(context)
    except deferred as err:
        return err.trigger  # type: ignore[attr-defined]
    raise RuntimeError("upstream did not defer")


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("kubeconfig", "image", "command", "annotations", "mode"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--count", type=int, required=True)
    options = parser.parse_args()
    import airflow.providers.cncf.kubernetes.operators.pod
    import airflow.providers.cncf.kubernetes.triggers.pod  # noqa: F401

    times = Times()
    base = resource.getrusage(resource.RUSAGE_SELF)
    before, began = base.ru_utime + base.ru_stime, time.time()
    if options.mode == "sync":
        run_sync(options, times)
    else:
        asyncio.run(run_deferrable(options, times))
    usage = resource.getrusage(resource.RUSAGE_SELF)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = usage.ru_utime + usage.ru_stime - before + children.ru_utime + children.ru_stime
    print(
        json.dumps(
            {
                "wall": time.time() - began,
                "cpu": cpu,
                "rss": usage.ru_maxrss / 1024,
                "base": base.ru_maxrss / 1024,
                "done": times.done,
            }
        )
    )


main()
