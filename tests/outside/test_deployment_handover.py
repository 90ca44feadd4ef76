"""What podbay.yaml tells an Airflow, read by Airflow itself and by upstream's hook (spec 9, 12-14)."""

from __future__ import annotations

import pytest

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


def test_the_chart_gets_the_same_variables_and_the_file_itself() -> None:
    wanted = parse_deployment(TEXT)
    values = helm_values(wanted, TEXT)
    told = {each["name"]: each["value"] for each in values["env"]}
    assert told == airflow_environment(wanted, told["PODBAY_FILE"], in_cluster=True)
    (mount,) = values["triggerer"]["extraVolumeMounts"]
    assert told["PODBAY_FILE"] == f"{mount['mountPath']}/podbay.yaml"
    (volume,) = values["triggerer"]["extraVolumes"]
    config_map = values["extraConfigMaps"][volume["configMap"]["name"]]
    assert parse_deployment(config_map["data"]["podbay.yaml"]) == wanted
