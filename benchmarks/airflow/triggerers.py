"""`airflow triggerer` and `podbay triggerer` in an ordinary Airflow: the same tasks of ours, one after the other.

    .venv-airflow/bin/python benchmarks/airflow/triggerers.py [--tasks 100] [--singles 5]

Airflow's own commands with its settings as delivered, on SQLite; the cluster is embedded, the containers are real.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import secrets
import shlex
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from airflow_up import IMAGE, PROGRAM, Airflow, ending, free_port
from dag_files import OURS, dag_file, pod
from run import Measured, idle_share, latencies, measured

AIRFLOWS, OURS_TRIGGERER = "airflow triggerer", "podbay triggerer"
START_SECONDS = 240.0


class OrdinaryAirflow(Airflow):
    """Airflow's components as its documentation starts them, and a triggerer of either kind."""

    def __init__(self, home: Path, triggerer: str) -> None:
        super().__init__(home, None)
        self.triggerer = triggerer

    def _start_airflow(self) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.environment |= self._settings(port)
        airflow = [sys.executable, "-m", "airflow"]
        subprocess.run([*airflow, "db", "migrate"], env=self.environment, check=True, capture_output=True)
        own = [str(PROGRAM)] if self.triggerer == OURS_TRIGGERER else airflow
        parts = {
            "api-server": [*airflow, "api-server"],
            "scheduler": [*airflow, "scheduler", "--skip-serve-logs"],
            "dag-processor": [*airflow, "dag-processor"],
            "triggerer": [*own, "triggerer", "--skip-serve-logs"],
        }
        script = "".join(
            f"{shlex.join(words)} >{shlex.quote(str(self.home / name))}.log 2>&1 & echo $!\n"
            for name, words in parts.items()
        )
        self._host = subprocess.Popen(
            ["sh", "-c", f"{script}wait"], env=self.environment, stdout=subprocess.PIPE, process_group=0
        )
        assert self._host.stdout is not None
        self._pids = {name: int(self._host.stdout.readline()) for name in parts}
        self._wait_until_healthy()
        self._token = self.call("GET", "/auth/token")["access_token"]

    def _settings(self, port: int) -> dict[str, str]:
        settings = {
            "CORE__DAGS_FOLDER": str(self.dags),
            "CORE__LOAD_EXAMPLES": "False",
            "CORE__FERNET_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "API_AUTH__JWT_SECRET": secrets.token_hex(32),
            "API__BASE_URL": self.url,
            "API__HOST": "127.0.0.1",
            "API__PORT": str(port),
            # Of one machine with two cores, as `podbay up` has it.
            "API__WORKERS": "1",
        }
        connection = {"conn_type": "kubernetes", "extra": {"kube_config_path": str(self.kubeconfig)}}
        return {f"AIRFLOW__{name}": value for name, value in settings.items()} | {
            "AIRFLOW_HOME": str(self.home / "airflow"),
            "AIRFLOW_CONN_KUBERNETES_DEFAULT": json.dumps(connection),
        }

    def _wait_until_healthy(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                with urllib.request.urlopen(f"{self.url}/api/v2/monitor/health", timeout=10) as answer:
                    found = json.load(answer)
                if all(
                    found[name]["status"] == "healthy" for name in ("scheduler", "triggerer", "dag_processor")
                ):
                    return
            except OSError:
                pass
            if time.monotonic() > deadline:
                raise RuntimeError(
                    f"Airflow is not healthy after {START_SECONDS:.0f} s; see {self.home}/*.log"
                )
            time.sleep(0.5)

    def _stop_airflow(self) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._host.pid, number)
            except ProcessLookupError:
                return
            time.sleep(5)

    def roots(self) -> dict[str, int]:
        return {"host": self._host.pid, **self._pids, "cluster": self.cluster_pid()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", type=int, default=100)
    parser.add_argument("--singles", type=int, default=5, help="runs of one task alone")
    options = parser.parse_args()
    found: dict[str, tuple[Measured, float]] = {}
    for triggerer in (AIRFLOWS, OURS_TRIGGERER):
        print(f"\n{triggerer}")
        with ending(lambda home, triggerer=triggerer: OrdinaryAirflow(home, triggerer)) as airflow:  # type: ignore[misc]
            for count, dag in ((1, "ours_one"), (options.tasks, "ours_all")):
                text = dag_file(OURS, dag, count, pod(IMAGE, 1, scripted=False))
                (airflow.dags / f"{dag}.py").write_text(text)
            airflow.start(containers=True)
            airflow.wait_for_dags(["ours_one", "ours_all"])
            idle = idle_share(airflow)
            latencies(airflow, OURS, options.singles)
            found[triggerer] = measured(airflow, "ours_all"), idle
    print(f"\n{options.tasks} tasks of 1 s")
    for triggerer, (each, idle) in found.items():
        print(
            f"  {triggerer:18} {each.wall:6.1f} s, CPU {each.airflow_cpu:.1f} s, of it the triggerer {each.cpu['triggerer']:.1f} s, "
            f"without what idles {each.airflow_cpu - idle * each.watched:.1f} s; {dict(each.states)}"
        )
    walls = [each.wall for each, _ in found.values()]
    print(f"  {AIRFLOWS} / {OURS_TRIGGERER}: {walls[0] / walls[1]:.1f}x")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
