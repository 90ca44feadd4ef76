"""Pods that write lines until a test lets them go. Defines no task by itself."""

from __future__ import annotations

import datetime
import os
from pathlib import Path
from typing import Any

from kubernetes.client import models as k8s

HOME = Path(os.environ["AIRFLOW_HOME"])
HOLDS = (
    'i=0; while [ ! -e /told/$0 ]; do echo line $i; i=$((i+1)); sleep 0.2; done; echo "lines $i"; '
    "echo '\"'$0'\"' > /airflow/xcom/return.json"
)
"""Its first argument is the name of the file that ends it, and then its result."""
HELD: dict[str, Any] = {
    "namespace": "containers",
    "image": "localhost/bb:1",
    "retries": 1,
    "retry_delay": datetime.timedelta(seconds=0),
    "do_xcom_push": True,
    "termination_grace_period": 1,
    "volumes": [k8s.V1Volume(name="told", host_path=k8s.V1HostPathVolumeSource(path=str(HOME / "told")))],
    "volume_mounts": [k8s.V1VolumeMount(name="told", mount_path="/told", read_only=True)],
}
