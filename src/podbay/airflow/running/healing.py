"""The healer of `podbay up`, as one of its processes: same cluster, and Airflow with the login that `up` has made.

Runs inside Airflow (it reads the deployment's name as the tasks do), in a process of its own.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from pathlib import Path

from podbay.aio.clock import SystemClock
from podbay.airflow.running.home import AirflowHome
from podbay.airflow.running.stack import USER, password
from podbay.errors import PodbayError
from podbay.healer.airflow_api import AirflowLogin
from podbay.healer.process import leader_of, reconciler_of
from podbay.healer.reconciler import Round
from podbay.healer.rules import Rules
from podbay.healer.service import Service
from podbay.kube.kubeconfig import load_kubeconfig
from podbay.kube.lease import DeskOptions, LeaseDesk

__all__ = ["heal"]

_log = logging.getLogger("podbay.healer")


def heal() -> None:
    """Until SIGTERM. What the cluster refuses for good is printed, and ends the process."""
    # Airflow's own logging, which this process has inherited, colours lines and leaves INFO of others out.
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr, force=True)
    _log.setLevel(logging.INFO)
    try:
        asyncio.run(_until_told())
    except PodbayError as error:
        _log.error("%s", error)
        raise SystemExit(1) from None


async def _until_told() -> None:
    service = asyncio.ensure_future(_serve())
    # Cancelled and not killed: it gives the lead away, and the next start need not wait for its end.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, service.cancel)
    await asyncio.wait((service,))
    if not service.cancelled():
        service.result()


async def _serve() -> None:
    from airflow.configuration import conf

    from podbay.airflow.settings import read_settings

    home = AirflowHome(Path(os.environ["AIRFLOW_HOME"]))
    config = load_kubeconfig(home.kubeconfig)
    rules = Rules(deployment=read_settings().deployment)
    login = AirflowLogin(url=conf.get("api", "base_url"), username=USER, password=password(home))
    clock = SystemClock()
    desk = LeaseDesk(DeskOptions(clock=clock, linger_seconds=0.0, agent="podbay-healer"))
    async with desk.lease(config) as cluster:
        leader = leader_of(cluster.client, config.namespace, deployment=rules.deployment, clock=clock)
        opening = reconciler_of(
            cluster,
            config.namespace,
            rules=rules,
            login=login,
            clock=clock,
            logs=Path(conf.get("logging", "base_log_folder")),
        )
        async with opening as reconciler:
            _log.info("deployment %s, namespace %s", rules.deployment, config.namespace)
            await Service(reconciler, leader, clock, told=_Teller().tell).run()


class _Teller:
    """Says what a round saw when that is not what the one before it saw."""

    def __init__(self) -> None:
        self._before = (0, 0, False)

    def tell(self, last: Round) -> None:
        seen = (last.pods, len(last.decision.waiting), bool(last.decision.stopped))
        if seen != self._before and not last.decision.stopped:
            _log.info("%d task pods, %d actions wait for their time", seen[0], seen[1])
        self._before = seen
