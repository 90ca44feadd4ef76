"""Tasks in pods in a whole Airflow: ours against upstream's operator, in one Airflow on one cluster, in one run.

    .venv-airflow/bin/python benchmarks/airflow/run.py [--tasks 100] [--many 1000] [--singles 5] [--scripted]
        [--who ours "upstream sync" "upstream deferrable"] [--database URL]

Pods are real containers that live for a second, or with --scripted only by name; the `--many` always are scripted.
Airflow and the cluster are those of `podbay up` in a home of their own; nothing of them stays, also after Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from airflow_up import IMAGE, Airflow, running_airflow
from dag_files import DEFERRABLE, OURS, SYNC, dag_file, pod
from metering import MemoryWatch, airflow_sum, cpu_by_role
from pod_times import watched_pods

HERE = Path(__file__).parent
EVERYBODY = (OURS, SYNC, DEFERRABLE)
SETTLE_SECONDS = 5.0
"""After a run's end, for what it leaves to be done: callbacks, deletions."""
PATIENCE_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Measured:
    """One run of one DAG."""

    wall: float
    """Seconds from the run's start to its end, by Airflow's clock."""
    watched: float
    """Seconds for which CPU was counted."""
    cpu: dict[str, float]
    first: dict[str, float]
    most: dict[str, float]
    cluster: float
    requests: Counter[str]
    workers: int
    states: Counter[str]

    @property
    def airflow_cpu(self) -> float:
        return airflow_sum(self.cpu)


def dag_id(who: str, what: str) -> str:
    return f"{who.replace(' ', '_')}_{what}"


def measured(airflow: Airflow, dag: str) -> Measured:
    roots = airflow.roots()
    before, cpu, began = airflow.requests(), cpu_by_role(roots), time.monotonic()
    with MemoryWatch(roots) as memory:
        run = airflow.run(dag, seconds=PATIENCE_SECONDS)
        time.sleep(SETTLE_SECONDS)
    after, watched = cpu_by_role(roots), time.monotonic() - began
    requests = airflow.requests() - before
    requests["GET"] -= 1
    tasks = airflow.tasks(dag, run["dag_run_id"])
    return Measured(
        wall=seconds_between(run["start_date"], run["end_date"]),
        watched=watched,
        cpu={role: after[role] - cpu.get(role, 0.0) for role in after},
        first=memory.first,
        most=memory.most,
        cluster=memory.cluster,
        requests=requests,
        workers=airflow.worker_starts(dag, run["dag_run_id"]),
        states=Counter(str(task["state"]) for task in tasks),
    )


def seconds_between(first: str | None, last: str | None) -> float:
    if not first or not last:
        return float("nan")
    return (moment(last) - moment(first)).total_seconds()


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def show(title: str, found: dict[str, Measured], idle: float) -> None:
    print(f"\n{title}")
    print(
        f"  {'':20} {'wall s':>8} {'CPU s':>8} {'MiB peak':>9} {'growth':>7} {'workers':>8} {'requests a task':>16} {'failed':>7}"
    )
    for who, each in found.items():
        count = each.states.total()
        print(
            f"  {who:20} {each.wall:8.1f} {each.airflow_cpu:8.1f} {airflow_sum(each.most):9.0f} "
            f"{airflow_sum(each.most) - airflow_sum(each.first):7.0f} {each.workers:8} "
            f"{each.requests.total() / count:16.1f} {each.states['failed']:>3} of {count}"
        )
    for who, each in found.items():
        roles = ", ".join(f"{role} {cpu:.1f}" for role, cpu in sorted(each.cpu.items()))
        grown = {role: each.most[role] - each.first.get(role, 0.0) for role in each.most if role != "cluster"}
        verbs = ", ".join(f"{verb} {number}" for verb, number in sorted(each.requests.items()))
        print(f"  {who}: CPU {roles}; without what idles {each.airflow_cpu - idle * each.watched:.1f}")
        print(
            f"    growth {', '.join(f'{role} {mib:.0f}' for role, mib in sorted(grown.items()))} MiB; cluster {each.cluster:.0f} MiB at most"
        )
        print(f"    {verbs}; states {dict(each.states)}")
    if OURS in found and len(found) > 1:
        show_ratios(found, idle)
    sys.stdout.flush()


def show_ratios(found: dict[str, Measured], idle: float) -> None:
    ours = found[OURS]
    for who, each in found.items():
        if who != OURS:
            net = (each.airflow_cpu - idle * each.watched) / max(0.1, ours.airflow_cpu - idle * ours.watched)
            growth = (airflow_sum(each.most) - airflow_sum(each.first)) / max(
                1.0, airflow_sum(ours.most) - airflow_sum(ours.first)
            )
            print(
                f"  {who} / ours: wall {each.wall / ours.wall:.1f}x, CPU {each.airflow_cpu / ours.airflow_cpu:.1f}x "
                f"({net:.1f}x without what idles), memory {airflow_sum(each.most) / airflow_sum(ours.most):.1f}x "
                f"(growth {growth:.1f}x), requests {each.requests.total() / ours.requests.total():.1f}x"
            )


# -- one task at a time


def latencies(airflow: Airflow, who: str, count: int) -> None:
    """Where the time of one task in an idle Airflow goes."""
    stages: dict[str, list[float]] = {}
    dag = dag_id(who, "one")
    for _ in range(count):
        with watched_pods(airflow.kubeconfig) as pods:
            run = airflow.run(dag, seconds=PATIENCE_SECONDS, look=0.2)
        (task,) = airflow.tasks(dag, run["dag_run_id"])
        began, ended = moment(run["start_date"]).timestamp(), moment(task["end_date"]).timestamp()
        # A task that starts on workers and is resumed has only its last queueing and start on record.
        queued = moment(task["start_date"]).timestamp() if who == OURS else began
        created, over = pods.created, pods.ended
        told = [
            moment(each).timestamp() for each in airflow.log_times(dag, run["dag_run_id"], task["task_id"])
        ]
        found = {
            "run": moment(run["end_date"]).timestamp() - began,
            "run -> queued": queued - began,
            "queued -> pod": created - queued,
            "  first line of the log -> pod": created - min(told, default=created),
            "pod": over - created,
            "pod's end -> success": ended - over,
            "  last line of the log -> success": ended - max(told, default=ended),
            "success -> run's end": moment(run["end_date"]).timestamp() - ended,
        }
        for stage, seconds in found.items():
            stages.setdefault(stage, []).append(seconds)
    print(f"  {who}, {count} times: median (least to most) seconds")
    for stage, each in stages.items():
        print(f"    {stage:36} {statistics.median(each):6.2f} ({min(each):.2f} to {max(each):.2f})")
    sys.stdout.flush()


# -- reading a file


def file_costs(airflow: Airflow, everybody: list[str]) -> None:
    """Least of three: other work on the machine only adds."""
    print("\nReading a DAG file of 100 tasks, Airflow imported before")
    for who in everybody:
        path = airflow.home / f"{dag_id(who, 'read')}.py"
        path.write_text(dag_file(who, "read", 100, pod(IMAGE, 1, scripted=False)))
        facts = [read_once(path, airflow.environment) for _ in range(3)]
        least = {name: min(each[name] for each in facts) for name in facts[0]}
        print(
            f"  {who:20} {least['seconds']:.2f} s ({least['again']:.2f} s again), {least['mib']:.0f} MiB, {least['modules']} modules"
        )
    sys.stdout.flush()


def read_once(path: Path, environment: dict[str, str]) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, str(HERE / "file_cost.py"), str(path)],
        env=environment | {"AIRFLOW_HOME": environment["HOME"]},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    facts: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return facts


# -- all of it


def write_dags(airflow: Airflow, options: argparse.Namespace) -> list[str]:
    shared = pod(IMAGE, options.seconds, scripted=options.scripted)
    texts = {}
    for who in options.who:
        texts[dag_id(who, "one")] = dag_file(who, dag_id(who, "one"), 1, shared)
        texts[dag_id(who, "all")] = dag_file(who, dag_id(who, "all"), options.tasks, shared)
    if options.many:
        many = pod(IMAGE, options.many_seconds, scripted=True)
        texts["many"] = dag_file(OURS, "many", options.many, many, mapped=True)
    for name, text in texts.items():
        (airflow.dags / f"{name}.py").write_text(text)
    return list(texts)


def idle_share(airflow: Airflow) -> float:
    """Cores that Airflow uses with nothing to do."""
    roots = airflow.roots()
    before, began = cpu_by_role(roots), time.monotonic()
    time.sleep(20)
    after, seconds = cpu_by_role(roots), time.monotonic() - began
    shares = {role: (cpu - before.get(role, 0.0)) / seconds for role, cpu in after.items()}
    idle = airflow_sum(shares)
    told = ", ".join(f"{role} {share:.3f}" for role, share in sorted(shares.items()))
    print(f"\nAn idle Airflow uses {idle:.2f} cores: {told}")
    return idle


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", type=int, default=100, help="of the DAG that all three run")
    parser.add_argument("--seconds", type=float, default=1.0, help="that each of its pods lives")
    parser.add_argument("--many", type=int, default=1000, help="mapped tasks, ours only; 0 leaves them out")
    parser.add_argument("--many-seconds", type=float, default=30.0)
    parser.add_argument("--singles", type=int, default=5, help="runs of one task alone; 0 leaves them out")
    parser.add_argument("--scripted", action="store_true", help="no containers")
    parser.add_argument("--who", nargs="+", choices=EVERYBODY, default=list(EVERYBODY))
    parser.add_argument("--database", help="SQLAlchemy URL of an empty database; SQLite without")
    options = parser.parse_args()
    with running_airflow(database=options.database) as airflow:
        dags = write_dags(airflow, options)
        airflow.start(containers=not options.scripted)
        airflow.wait_for_dags(dags)
        file_costs(airflow, options.who)
        idle = idle_share(airflow)
        if options.singles:
            print("\nOne task in an idle Airflow")
            for who in options.who:
                latencies(airflow, who, options.singles)
        found: dict[str, Measured] = {}
        for who in options.who:
            found[who] = measured(airflow, dag_id(who, "all"))
            told = found[who]
            print(
                f"{who}: {told.wall:.0f} s, {told.airflow_cpu:.0f} CPU s, {dict(told.states)}",
                file=sys.stderr,
                flush=True,
            )
        show(f"{options.tasks} tasks, pods of {options.seconds:g} s", found, idle)
        if options.many:
            title = f"{options.many} mapped tasks, scripted pods of {options.many_seconds:g} s"
            show(title, {OURS: measured(airflow, "many")}, idle)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
