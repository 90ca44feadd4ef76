"""What podbay.yaml tells an Airflow, read by Airflow itself and by upstream's hook (spec 9, 12-14)."""

from __future__ import annotations

import re
import textwrap
from typing import Any

import pytest
import yaml

from podbay.deployment.handover import airflow_environment, helm_values
from podbay.deployment.reading import parse_deployment

BASE = "name: etl\nnamespace: misty-harbor-4821\n"
TEXT = BASE + "airflow: {usage_every: 15s}\n"


@pytest.mark.parametrize("in_cluster", [True, False])
def test_airflow_understands_what_it_is_told(monkeypatch: pytest.MonkeyPatch, in_cluster: bool) -> None:
    from airflow.configuration import conf
    from airflow.providers.cncf.kubernetes.hooks.kubernetes import KubernetesHook

    told = airflow_environment(
        parse_deployment(TEXT), "/x/podbay.yaml", in_cluster=in_cluster, kubeconfig="/x/kubeconfig"
    )
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    assert conf.get("kubernetes", "NAMESPACE") == "misty-harbor-4821"
    assert conf.get("kubernetes_executor", "namespace") == "misty-harbor-4821"
    assert conf.get("podbay", "deployment") == "etl"
    assert conf.getboolean("podbay", "adopt_upstream_operators") is False
    assert conf.getint("podbay", "usage_seconds") == 15
    hook = KubernetesHook(conn_id="kubernetes_default")
    assert hook.get_namespace() == "misty-harbor-4821"
    assert bool(hook._get_field("in_cluster")) is in_cluster
    assert hook._get_field("kube_config_path") == (None if in_cluster else "/x/kubeconfig")
    limits = hook.get_xcom_sidecar_container_resources()["limits"]
    assert limits == {"cpu": "50m", "memory": "32Mi"}


def test_what_the_file_does_not_say_is_left_to_airflow_itself() -> None:
    told = airflow_environment(parse_deployment(BASE), "/x/podbay.yaml", in_cluster=True)
    assert "AIRFLOW__PODBAY__USAGE_SECONDS" not in told


def in_chart(values: dict[str, Any], name: str) -> dict[str, str]:
    """Data of a ConfigMap as the chart's template makes it: a text, rendered (`{{ "…" }}` gives what is quoted), indented."""
    text = values["extraConfigMaps"][name]["data"]
    assert isinstance(text, str), "the template functions of the chart take nothing else"
    rendered = re.sub(r'{{ "([^"]*)" }}', r"\1", text)
    data: dict[str, str] = yaml.safe_load("data:\n" + textwrap.indent(rendered, "  ", lambda _: True))["data"]
    return data


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        TEXT + "# a template of somebody's: {{ .Values.x }} and {{- y -}}\n",
        TEXT + "\n\n  # 'quotes' and \"more\"\n",
        "  # begins with blanks\n" + TEXT.rstrip("\n"),
    ],
)
def test_the_chart_gets_the_same_variables_and_the_file_itself(text: str) -> None:
    wanted = parse_deployment(text)
    values = helm_values(wanted, text)
    told = {each["name"]: each["value"] for each in values["env"]}
    assert told == airflow_environment(wanted, told["PODBAY_FILE"], in_cluster=True)
    (mount,) = values["triggerer"]["extraVolumeMounts"]
    assert told["PODBAY_FILE"] == f"{mount['mountPath']}/podbay.yaml"
    (volume,) = values["triggerer"]["extraVolumes"]
    assert in_chart(values, volume["configMap"]["name"]) == {"podbay.yaml": text}
