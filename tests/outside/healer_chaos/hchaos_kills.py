"""What goes wrong in the healer's chaos: kill -9 of workers, triggerer, scheduler, healers and nodes, at random moments."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from afault_chaos import Airflow, _runs
from airflow_deployment import start_component
from fault_chaos import Admin
from hchaos_seen import Away, PodRecorder, Timeline
from hchaos_work import REMOVED, RUN_ID, Work

__all__ = ["NODES", "Chaos", "Healers", "Scene"]

NODES = ("node-a", "node-b", "node-c", "node-d")
HEARTBEAT_SECONDS = 35.0
"""So long a part of Airflow may count as healthy though it is dead (the health check thresholds of the suite)."""
PROGRAM = Path(__file__).parents[2] / "healer" / "healer_process.py"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
_NODE_FIELDS = ("labels", "annotations", "name")


@dataclass
class Healers:
    """Two processes, of which one leads."""

    words: Sequence[str]
    log: Path
    living: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self) -> None:
        with self.log.open("ab") as out, self.log.with_suffix(".err").open("ab") as err:
            self.living.append(
                subprocess.Popen([sys.executable, str(PROGRAM), *self.words], stdout=out, stderr=err)
            )

    def kill(self, victim: subprocess.Popen[bytes]) -> None:
        victim.kill()
        victim.wait()
        self.living.remove(victim)

    def end(self) -> None:
        for each in list(self.living):
            self.kill(each)


@dataclass
class Scene:
    """What the chaos acts upon and looks at."""

    airflow: Airflow
    kubeconfig: Path
    healers: Healers
    recorder: PodRecorder
    timeline: Timeline
    work: Sequence[Work]


class Chaos:
    """Does one thing after the other, in a thread, until it is stopped."""

    def __init__(self, scene: Scene, rng: random.Random) -> None:
        self.scene = scene
        self.counts: Counter[str] = Counter()
        self.trouble: list[str] = []
        self.away = Away()
        self._rng = rng
        self._admin = Admin(scene.kubeconfig)
        self._returns: list[tuple[float, str, Mapping[str, Any]]] = []
        self._plan: list[tuple[float, Callable[[], None]]] = []
        self._buried = False
        self._killed_at = 0.0
        self.buried_at = 0.0
        """When those who looked after the orphans were all dead."""
        self._groups: list[int] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._live, name="chaos")

    def start(self, *, span: float) -> None:
        """Spread the kills over `span` seconds."""
        size = len(self.scene.work)
        kills: list[tuple[Callable[[], None], int]] = [
            (self._kill_worker, 2 + size // 15),
            (self._kill_triggerer, 1 + size // 60),
            (self._kill_scheduler, 1 + size // 60),
            (self._kill_healer, 3 + size // 12),
            (self._kill_node, 1 + size // 40),
        ]
        for kill, count in kills:
            width = 1.0 / count
            self._plan += [(span * width * (n + self._rng.uniform(0.15, 0.85)), kill) for n in range(count)]
        self._plan.sort(key=lambda one: one[0])
        self._thread.start()

    @property
    def over(self) -> bool:
        """Everything planned is done, and every orphan-to-be has lost whoever looked after it."""
        return not self._plan and self._buried and not self._doomed()

    def stop(self) -> None:
        """Everything works again when this returns."""
        if self._stopped.is_set():
            return
        self._stopped.set()
        self._thread.join()
        for _, node, found in self._returns:
            self._return(node, found)
        self._admin.close()
        for group in self._groups:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)

    def _live(self) -> None:
        began = time.monotonic()
        while not self._stopped.wait(self._rng.uniform(0.2, 0.6)):
            try:
                self._turn(time.monotonic() - began)
            except Exception:  # noqa: BLE001 - told at the end; what was killed must be started again meanwhile
                self.trouble.append(traceback.format_exc())
                print(f"the chaos itself: {self.trouble[-1]}", flush=True)

    def _turn(self, elapsed: float) -> None:
        self._look_after()
        for back in [each for each in self._returns if each[0] <= time.monotonic()]:
            self._returns.remove(back)
            self._return(back[1], back[2])
        self._kill_doomed()
        if not self._buried and self._all_began(("marked", "removed")):
            self._bury()
        for each in [each for each in self._plan if each[0] <= elapsed]:
            if each[1] not in (self._kill_triggerer, self._kill_scheduler) or self._has_recovered():
                self._plan.remove(each)
                each[1]()
                return

    def _has_recovered(self) -> bool:
        """Since its last kill, Airflow has come to work again: on a slow machine its parts would else be always away."""
        if time.monotonic() - self._killed_at < HEARTBEAT_SECONDS:
            return False
        health = self._ask("GET", "/api/v2/monitor/health")
        return all(health[part]["status"] == "healthy" for part in ("scheduler", "triggerer"))

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        """Of Airflow, whose database (SQLite) is locked now and then."""
        deadline = time.monotonic() + 120
        while True:
            try:
                return self.scene.airflow.api.call(method, path, body)
            except OSError as error:
                if getattr(error, "code", 500) < 500 or time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    def _look_after(self) -> None:
        """Whatever has ended by itself is started again; Airflow's triggerer does when it cannot reach its database."""
        processes = self.scene.airflow.processes
        for name in ("triggerer", "scheduler"):
            if processes[name].poll() is not None:
                self.counts[f"{name} ended by itself"] += 1
                self._start(name)
        for healer in list(self.scene.healers.living):
            if healer.poll() is not None:
                self.trouble.append(f"a healer ended by itself with {healer.returncode}")
                self.scene.healers.living.remove(healer)
        while len(self.scene.healers.living) < 2:
            self.scene.healers.start()

    # -- Airflow

    def _start(self, name: str) -> None:
        airflow = self.scene.airflow
        airflow.processes[name] = start_component(airflow.home, dict(airflow.env), name)

    def _kill_group(self, name: str) -> None:
        self._killed_at = time.monotonic()
        process = self.scene.airflow.processes[name]
        self._groups.append(process.pid)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=120)

    def _kill_triggerer(self) -> None:
        process = self.scene.airflow.processes["triggerer"]
        runners: list[psutil.Process] = []
        with contextlib.suppress(psutil.Error):
            runners = psutil.Process(process.pid).children(recursive=True)
        if runners and self._rng.random() < 0.3:
            # The runner alone; its supervisor ends then, too.
            self._killed_at = time.monotonic()
            runners[0].kill()
            self.counts["kill triggerer's runner"] += 1
            return
        self._kill_group("triggerer")
        self.counts["kill triggerer"] += 1
        self._stopped.wait(self._rng.uniform(0.0, 3.0))
        self._start("triggerer")

    def _kill_scheduler(self) -> None:
        """With its workers, or alone: they go on then, for an Airflow that has given their tasks to others."""
        if self._rng.random() < 0.5:
            self._kill_group("scheduler")
            self.counts["kill scheduler with workers"] += 1
        else:
            process = self.scene.airflow.processes["scheduler"]
            self._killed_at = time.monotonic()
            self._groups.append(process.pid)
            process.kill()
            process.wait(timeout=120)
            self.counts["kill scheduler"] += 1
        self._stopped.wait(self._rng.uniform(0.0, 3.0))
        self._start("scheduler")

    def _busy(self) -> dict[str, tuple[psutil.Process, Work]]:
        try:
            workers = self.scene.airflow.busy_workers()
        except psutil.Error:
            # The scheduler has ended; it is started again in the next turn.
            return {}
        if not workers:
            return {}
        path = "/api/v2/dags/~/dagRuns/~/taskInstances?limit=1000"
        found = self._ask("GET", path)["task_instances"]
        known = {each.key: each for each in self.scene.work}
        by_id = {each["id"]: (each["dag_id"], each["dag_run_id"], each["task_id"]) for each in found}
        return {
            uid: (worker, known[by_id[uid]])
            for uid, worker in workers.items()
            if uid in by_id and by_id[uid] in known
        }

    def _kill_worker(self) -> None:
        """One that has a task, or the process of the task alone."""
        chosen = [each for each in self._busy().items() if each[1][1].wanted == "success"]
        if not chosen:
            self.counts["no worker to kill"] += 1
            return
        uid, (worker, _) = self._rng.choice(chosen)
        tasks = worker.children()
        if tasks and self._rng.random() < 0.4:
            tasks[0].kill()
            self.counts["kill task process"] += 1
        elif _kill_busy(worker, uid):
            self.counts["kill worker"] += 1

    def _doomed(self) -> list[Work]:
        """Those that have not lost their worker yet."""
        return [each for each in self.scene.work if each.place == "doomed" and not self._is_over(each)]

    def _is_over(self, work: Work) -> bool:
        found = self.scene.timeline.now(work.key)
        return found is not None and found.state in ("failed", "success", "skipped", "upstream_failed")

    def _kill_doomed(self) -> None:
        if not any(self._began(each) for each in self._doomed()):
            return
        for uid, (worker, work) in self._busy().items():
            if work.place != "doomed" or not self._began(work):
                continue
            tasks = worker.children(recursive=True)
            if _kill_busy(worker, uid):
                self.counts["kill doomed worker"] += 1
                for process in tasks:
                    with contextlib.suppress(psutil.Error):
                        process.kill()

    def _began(self, work: Work) -> bool:
        return any(life.began and life.key == work.key for life in list(self.scene.recorder.lives.values()))

    def _all_began(self, places: tuple[str, ...]) -> bool:
        return all(self._began(each) for each in self.scene.work if each.place in places)

    def _bury(self) -> None:
        """While the triggerer is dead: tasks are marked failed, and a run is deleted with all its task instances."""
        orphans = [each for each in self.scene.work if each.place in ("marked", "removed")]
        states = {each: now.state for each in orphans if (now := self.scene.timeline.now(each.key))}
        if any(states.get(each) not in ("deferred", "failed") for each in orphans):
            return
        self._buried = True
        self._kill_group("triggerer")
        self.counts["kill triggerer"] += 1
        self.buried_at = time.time()
        for work in orphans:
            if work.place == "marked" and states[work] == "deferred":
                path = f"/api/v2/dags/{work.dag_id}/dagRuns/{RUN_ID}/taskInstances/{work.task_id}"
                self._ask("PATCH", path, {"new_state": "failed"})
        for dag_id in {each.dag_id for each in orphans if each.place == "removed"}:
            path = f"/api/v2/dags/{dag_id}/dagRuns/{REMOVED}"
            self._ask("PATCH", path, {"state": "failed"})
            self._ask("DELETE", path)
        self._start("triggerer")

    # -- healers and nodes

    def _kill_healer(self) -> None:
        healers = self.scene.healers
        victim = self._rng.choice(healers.living)
        healers.kill(victim)
        self.counts["kill healer"] += 1
        self._stopped.wait(self._rng.uniform(0.0, 1.0))
        healers.start()

    def _kill_node(self) -> None:
        """It falls silent, and is taken out of the cluster as clouds do with dead machines; later it comes back."""
        here = [node for node in NODES if node not in {each[1] for each in self._returns}]
        if len(here) <= len(NODES) - 2:
            self.counts["enough nodes away"] += 1
            return
        node = self._rng.choice(here)
        code, found = self._admin.call("GET", f"/api/v1/nodes/{node}")
        assert code == 200, found
        self._fault("lose-node", node)
        self._stopped.wait(self._rng.uniform(0.0, 2.0))
        self.away.left(node)
        code, answer = self._admin.call("DELETE", f"/api/v1/nodes/{node}")
        assert code == 200, answer
        # It would go with its node, and with the next one of that name.
        self._admin.call("DELETE", f"{LEASES}/{node}")
        # Pods of a node that is away for more than 40 s are ended by the cluster itself.
        self._returns.append((time.monotonic() + self._rng.uniform(5.0, 70.0), node, found))
        self.counts["kill node"] += 1

    def _return(self, node: str, found: Mapping[str, Any]) -> None:
        metadata = {key: found["metadata"][key] for key in _NODE_FIELDS if key in found["metadata"]}
        spec = {key: value for key, value in found["spec"].items() if key != "taints"}
        body = {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": spec}
        code, answer = self._admin.call("POST", "/api/v1/nodes", body)
        assert code == 201, answer
        # Controllers write to a new node as well.
        for _ in range(50):
            body = {**answer, "status": found["status"]}
            code, _told = self._admin.call("PUT", f"/api/v1/nodes/{node}/status", body)
            if code == 200:
                break
            assert code == 409, _told
            _, answer = self._admin.call("GET", f"/api/v1/nodes/{node}")
        assert code == 200, _told
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        lease = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": node, "namespace": "kube-node-lease"},
            "spec": {"holderIdentity": node, "leaseDurationSeconds": 40, "renewTime": now},
        }
        code, answer = self._admin.call("POST", LEASES, lease)
        assert code in (201, 409), answer
        self._fault("return-node", node)
        self.away.returned(node)

    def _fault(self, do: str, node: str) -> None:
        code, answer = self._admin.call("POST", "/podbay.dev/v1/node-faults", {"do": do, "node": node})
        assert code < 300, answer


def _kill_busy(worker: psutil.Process, uid: str) -> bool:
    """Kill a worker that runs this task instance, and no other: an idle one holds the lock of all workers' queue, and its
    death would stop Airflow until its next start. So it is looked at while it cannot go on."""
    try:
        worker.suspend()
        if _runs(worker) == uid:
            worker.kill()
            return True
        worker.resume()
    except psutil.Error:
        pass
    return False
