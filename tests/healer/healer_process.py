"""A healer in a process of its own: python healer_process.py KUBECONFIG NAMESPACE AIRFLOW_URL [RULES LOGS]

RULES are fields of podbay.healer.rules.Rules as JSON; without them it has no patience. LOGS is Airflow's log folder. Each action is a line of JSON on
its standard output.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from pathlib import Path

from podbay.aio.clock import SystemClock
from podbay.healer.airflow_api import AirflowLogin
from podbay.healer.leader import Leader
from podbay.healer.process import reconciler_of
from podbay.healer.rules import Rules
from podbay.healer.service import Service
from podbay.kube.kubeconfig import load_kubeconfig
from podbay.kube.lease import DeskOptions, LeaseDesk

IMPATIENT = Rules(
    deployment="prod",
    young=0,
    finished=0,
    ended=0,
    absent=0,
    cleared=0,
    superseded=0,
    per_minute=1000,
    stop_share=1.0,
)


class _Lines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if hasattr(record, "deed"):
            fields = ("deed", "result", "check", "pod", "uid")
            line = {"at": record.created, **{name: getattr(record, name) for name in fields}}
            print(json.dumps({**line, "text": record.getMessage()}), flush=True)


async def heal(kubeconfig: str, namespace: str, url: str, rules: str = "", logs: str = "") -> None:
    log = logging.getLogger("podbay.healer")
    log.setLevel(logging.INFO)
    log.addHandler(_Lines())
    clock = SystemClock()
    desk = LeaseDesk(DeskOptions(clock=clock, linger_seconds=0.0))
    chosen = Rules(**json.loads(rules)) if rules else IMPATIENT
    async with desk.lease(load_kubeconfig(kubeconfig)) as cluster:
        # A short lease: the next one takes over within seconds of a kill.
        leader = Leader(
            cluster.client, clock, namespace=namespace, name="healer", holder=str(os.getpid()), duration=8
        )
        login = AirflowLogin(url=url)
        opening = reconciler_of(
            cluster,
            namespace,
            rules=chosen,
            login=login,
            clock=clock,
            logs=Path(logs) if logs else None,
        )
        async with opening as reconciler:
            await Service(reconciler, leader, clock, interval=1.0 if rules else 0.1).run()


if __name__ == "__main__":
    asyncio.run(heal(*sys.argv[1:]))
