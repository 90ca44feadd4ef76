"""A healer in a process of its own, with no patience: python healer_process.py KUBECONFIG NAMESPACE AIRFLOW_URL"""

from __future__ import annotations

import asyncio
import os
import sys

from podbay.aio.clock import SystemClock
from podbay.healer.airflow_api import AirflowLogin
from podbay.healer.leader import Leader
from podbay.healer.process import reconciler_of
from podbay.healer.rules import Rules
from podbay.healer.service import Service
from podbay.kube.kubeconfig import load_kubeconfig
from podbay.kube.lease import DeskOptions, LeaseDesk

RULES = Rules(
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


async def heal(kubeconfig: str, namespace: str, url: str) -> None:
    clock = SystemClock()
    desk = LeaseDesk(DeskOptions(clock=clock, linger_seconds=0.0))
    async with desk.lease(load_kubeconfig(kubeconfig)) as cluster:
        # A short lease: the next one takes over within seconds of a kill.
        leader = Leader(
            cluster.client, clock, namespace=namespace, name="healer", holder=str(os.getpid()), duration=8
        )
        login = AirflowLogin(url=url)
        opening = reconciler_of(cluster, namespace, rules=RULES, login=login, clock=clock)
        async with opening as reconciler:
            await Service(reconciler, leader, clock, interval=0.1).run()


if __name__ == "__main__":
    asyncio.run(heal(*sys.argv[1:]))
