"""The link from a task to its pod, in Airflow's UI."""

from __future__ import annotations

from typing import Any

from airflow.sdk import BaseOperatorLink

from podbay.airflow.pages import pod_link

__all__ = ["PodLink"]


class PodLink(BaseOperatorLink):
    """To the deployment's dashboard for the pod ([podbay] pod_url), if it has one."""

    name = "Pod"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Asked on a worker, at the end of a task; elsewhere the run has pushed it (LINK_KEY)."""
        from airflow.sdk.execution_time.xcom import XCom

        from podbay.airflow.settings import read_settings

        pattern = read_settings().pod_url
        if not pattern:
            return ""
        name = XCom.get_value(key="pod_name", ti_key=ti_key)
        namespace = XCom.get_value(key="pod_namespace", ti_key=ti_key)
        return pod_link(pattern, str(namespace), str(name)) if name and namespace else ""
