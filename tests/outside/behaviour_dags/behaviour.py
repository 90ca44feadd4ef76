"""What Airflow and its users do to tasks, each DAG once with our operator and once with upstream's, adopted.

Pods live by a script, except those of held.py. On a cluster that is not ours a shell does what the script says.
"""

from __future__ import annotations

import datetime
import os
import shlex
from typing import Any

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator as UpstreamOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, TaskGroup, TriggerRule
from held import HELD, HOLDS, HOME
from kubernetes.client import models as k8s

from podbay import KubernetesPodOperator

SCRIPT = "scripted.podbay.dev/"
IMAGE = os.environ.get("PODBAY_BEHAVIOUR_IMAGE", "")
"""Of pods that are no script's; it has a shell."""
SCRIPTED: dict[str, Any] = {
    "image": "example.com/task:1",
    "node_selector": {"podbay.dev/scripted": "true"},
    "tolerations": [k8s.V1Toleration(key="podbay.dev/scripted", operator="Exists")],
}
SHARED: dict[str, Any] = {
    "namespace": "podbay-behaviour",
    **({"image": IMAGE, "termination_grace_period": 1} if IMAGE else SCRIPTED),
    "retries": 0,
    "retry_delay": datetime.timedelta(seconds=0),
    # Pods behind gates wait for their tests.
    "schedule_timeout_seconds": 900,
    "startup_timeout_seconds": 900,
}
GATED = {"spec": {"schedulingGates": [{"name": "test.podbay.dev/gate"}], "containers": [{"name": "base"}]}}
"""The pod does not start before its test says so."""


def noted(moment: str) -> Any:
    """A callback that leaves a line where its test finds it."""

    def note(context: Any) -> None:
        ti = context["ti"]
        with (HOME / "called").open("a") as file:
            file.write(f"{ti.dag_id} {ti.task_id} {moment}\n")

    return note


def lived_by(script: dict[str, str]) -> dict[str, Any]:
    """Parameters of a pod that does what the script says."""
    if not IMAGE:
        return {"annotations": {SCRIPT + key: value for key, value in script.items()}}
    log, seconds, code = (script.get(key, "") for key in ("log", "run-seconds", "exit-code"))
    steps = [f"echo {shlex.quote(log)}" if log else ":", f"sleep {seconds or 1}", f"exit {code or 0}"]
    return {"cmds": ["sh", "-c"], "arguments": ["; ".join(steps)]}


def dags_of(operator: Any, kind: str) -> None:
    def dag(name: str, **parameters: Any) -> DAG:
        start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
        return DAG(f"{name}_{kind}", schedule=None, start_date=start, **parameters)

    def pod(name: str, script: dict[str, str] | None = None, **parameters: Any) -> Any:
        return operator(task_id=name, **(SHARED | lived_by(script or {}) | parameters))

    endless = {"run-seconds": "600"}

    with dag("cleared"):
        pod("running", endless)
        pod("retried", endless, retries=2)
        pod("finished", {"log": "try {{ ti.try_number }}"}, on_finish_action="keep_pod") >> pod("after")

    with dag("marked"):
        for state in ("success", "failed", "skipped"):
            pod(f"to-{state}", endless, retries=1) >> pod(f"after-{state}")

    with dag("run_too_long", dagrun_timeout=datetime.timedelta(seconds=12)):
        pod("endless", endless) >> pod("never")

    with dag("too_long"):
        limit = datetime.timedelta(seconds=4)
        pod("again", endless, retries=1, execution_timeout=limit)
        pod("kept", endless, execution_timeout=limit, on_finish_action="keep_pod")

    with dag("paused"):
        pod("running", {"log": "to the end"}, pod_template_dict=GATED) >> pod("next")

    with dag("around"):
        setup = pod("setup").as_setup()
        fails = pod("fails", {"exit-code": "1"})
        teardown = pod("teardown", {"log": "torn down"}).as_teardown(setups=setup)
        setup >> fails >> pod("not-reached") >> teardown

    with dag("ruled"):
        good, bad = pod("good"), pod("bad", {"exit-code": "1"})
        # The last one: what skips first would have the others skipped before they see the failure.
        skips = pod("skips", {"exit-code": "99"}, skip_on_exit_code=99, trigger_rule="all_done")
        [good, bad] >> skips
        for rule in TriggerRule:
            if rule in (TriggerRule.ALWAYS, TriggerRule.ALL_DONE_SETUP_SUCCESS):
                continue
            [good, bad, skips] >> pod(f"{rule.value}", trigger_rule=rule)

    with dag("grouped"):
        with TaskGroup("first") as first:
            one = pod("one")
            with TaskGroup("inner", default_args={"labels": {"from": "group"}}):
                one >> pod("two", on_finish_action="keep_pod")
        with TaskGroup("second", prefix_group_id=False) as second:
            pod("three")
        first >> second

    with dag("ranked", max_active_tasks=1):
        pod("pod-0", priority_weight=1, weight_rule="absolute", pod_template_dict=GATED)
        # As much as it and all that wait for it.
        heavy = pod("pod-1", pod_template_dict=GATED)
        heavy >> [EmptyOperator(task_id=f"after-{number}") for number in range(4)]
        pod("pod-2", priority_weight=3, weight_rule="absolute", pod_template_dict=GATED)

    with dag("pooled"):
        for number in range(2):
            pod(f"pod-{number}", pool=f"narrow_{kind}", pod_template_dict=GATED)

    with dag("called"):
        told = {f"on_{each}_callback": noted(each) for each in ("success", "failure", "retry", "skipped")}
        pod("succeeds", **told)
        pod("fails", {"exit-code": "1"}, **told)
        pod("skips", {"exit-code": "99"}, skip_on_exit_code=99, **told)
        pod("fails-twice", {"exit-code": "1"}, retries=1, **told)

    for name in ("killed", "stalled", "stopped"):
        with dag(f"triggerer_{name}"):
            operator(task_id="held", cmds=["sh", "-c", HOLDS], arguments=[f"{name}-{kind}"], **HELD)


for each_kind, each_operator in {"ours": KubernetesPodOperator, "adopted": UpstreamOperator}.items():
    dags_of(each_operator, each_kind)
