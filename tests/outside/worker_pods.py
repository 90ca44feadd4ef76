"""The pod template of KubernetesExecutor: Python from the image, Airflow and its home mounted from this machine."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from airflow_home import AirflowHome

import podbay

__all__ = ["write_pod_template"]


def write_pod_template(path: Path, home: AirflowHome, settings: Mapping[str, str]) -> None:
    """Write the template; every worker gets the settings of the deployment."""
    environment = Path(sys.prefix)
    # Installed to be edited: Airflow finds its policies by the environment, and their code here.
    source = Path(podbay.__file__).parents[1]
    mounts = {
        "airflow": (environment, True),
        "podbay": (source, True),
        "home": (home.directory, False),
        "dags": (home.dags, True),
    }
    env = {**settings, "PATH": f"{environment}/bin:{os.defpath}", "PYTHONDONTWRITEBYTECODE": "1"}
    container = {
        # Upstream replaces command, arguments and image of the container of this name.
        "name": "base",
        "image": "replaced",
        "env": [{"name": key, "value": value} for key, value in env.items()],
        "volumeMounts": [
            {"name": name, "mountPath": str(path), "readOnly": read_only}
            for name, (path, read_only) in mounts.items()
        ],
    }
    template = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "worker"},
        "spec": {
            # The API server of this Airflow listens on loopback only.
            "hostNetwork": True,
            "restartPolicy": "Never",
            "containers": [container],
            "volumes": [
                {"name": name, "hostPath": {"path": str(path), "type": "Directory"}}
                for name, (path, _) in mounts.items()
            ],
        },
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(template))
