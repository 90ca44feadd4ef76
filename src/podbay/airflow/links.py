"""The link from a task to its pod, in Airflow's UI."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from airflow.sdk import BaseOperatorLink

__all__ = ["PodLink"]


class PodLink(BaseOperatorLink):
    """To the deployment's dashboard for the pod ([podbay] pod_url), if it has one."""

    name = "Pod"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        from airflow.sdk.execution_time.xcom import XCom

        from podbay.airflow.settings import read_settings

        pattern = read_settings().pod_url
        if not pattern:
            return ""
        values = {}
        for key in ("pod_name", "pod_namespace"):
            found = XCom.get_value(key=key, ti_key=ti_key)
            if not found:
                return ""
            values[key.removeprefix("pod_")] = quote(str(found), safe="")
        return pattern.format(**values)
