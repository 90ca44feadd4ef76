"""What Airflow is told of this package (entry point `apache_airflow_provider`).

Connections are upstream's type "kubernetes", whose form its provider brings; ours has no other.
"""

from __future__ import annotations

from typing import Any

from podbay import __version__
from podbay.airflow.settings import OPTIONS, SECTION

__all__ = ["get_provider_info"]


def get_provider_info() -> dict[str, Any]:
    """In the form of Airflow's provider schema."""
    return {
        "package-name": "podbay",
        "name": "Podbay",
        "description": "Tasks in Kubernetes pods.",
        "versions": [__version__],
        "operators": [{"integration-name": "Podbay", "python-modules": ["podbay.airflow.operators"]}],
        "triggers": [{"integration-name": "Podbay", "python-modules": ["podbay.airflow.triggers"]}],
        "task-decorators": [
            {"class-name": "podbay.airflow.decorators.pod_task", "name": "pod"},
            {"class-name": "podbay.airflow.decorators.pod_cmd_task", "name": "pod_cmd"},
        ],
        "extra-links": ["podbay.airflow.links.PodLink"],
        "config": {SECTION: {"description": "Podbay: tasks in pods.", "options": _options()}, **_KUBERNETES},
    }


def _options() -> dict[str, Any]:
    return {
        option.name: {
            "description": option.doc,
            "version_added": "0.1.0",
            "type": option.type,
            "example": None,
            "default": option.default,
        }
        for option in OPTIONS
    }


_KUBERNETES = {
    "kubernetes": {
        "description": "Read by DAGs that ask for the namespace of their deployment.",
        "options": {
            "namespace": {
                "description": "The deployment's namespace: conf.get('kubernetes', 'NAMESPACE').",
                "version_added": "0.1.0",
                "type": "string",
                "example": None,
                "default": "default",
            }
        },
    }
}
