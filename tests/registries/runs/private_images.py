"""Tasks whose images take a login, before a moment and after it; between the two the logins change."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator as UpstreamOperator
from airflow.sdk import DAG, task

from podbay import KubernetesPodOperator

PLACE = json.loads(os.environ["TESTS_PLACE"])


@task
def logins_change(directory: str) -> None:
    """Tell that everything before has run, and wait until the logins have changed."""
    (Path(directory) / "reached").touch()
    ends = time.monotonic() + 300
    while not (Path(directory) / "changed").exists():
        if time.monotonic() > ends:
            raise TimeoutError("the logins have not changed")
        time.sleep(0.2)


@task
def record(directory: str, names: list[str], ti: Any = None) -> None:
    """Write down what Airflow knows of the images."""
    images = {name: ti.xcom_pull(task_ids=name, key="pod_image") for name in names}
    (Path(directory) / "images.json").write_text(json.dumps(images))


def pod(operator: type, name: str, image: str) -> UpstreamOperator | KubernetesPodOperator:
    return operator(
        task_id=name,
        name=name,
        namespace=PLACE["namespace"],
        image=image,
        image_pull_policy="Always",
        cmds=["cat", "/etc/image"],
        retries=0,
        termination_grace_period=1,
    )


with DAG("private_images"):
    changed = logins_change(PLACE["directory"])
    recorded = record(
        PLACE["directory"],
        [f"{kind}-{when}" for kind in PLACE["repositories"] for when in ("before", "after")],
    )
    for kind, repository in PLACE["repositories"].items():
        before = pod(KubernetesPodOperator, f"{kind}-before", f"{repository}:1")
        after = pod(KubernetesPodOperator, f"{kind}-after", f"{repository}:2")
        before >> changed >> after >> recorded
    for kind in ("password", "ecr"):
        changed >> pod(UpstreamOperator, f"{kind}-upstream", f"{PLACE['repositories'][kind]}:3")
