"""Texts that the parts of `podbay run` make and read: tracebacks, task logs, airflow.cfg, a kubeconfig of its own."""

from __future__ import annotations

import configparser
import json
from pathlib import Path

import pytest

from podbay.airflow.running.connection import airflow_connection, kubeconfig_of
from podbay.airflow.running.home import AirflowHome
from podbay.airflow.running.settings import Keys, Wanted, airflow_cfg, environment, name_left_out
from podbay.airflow.running.supervision import LAST_SECONDS, Supervision
from podbay.airflow.running.tasklog import last_lines, log_files
from podbay.airflow.running.tracebacks import shorten
from podbay.errors import InvalidInputError
from podbay.kube.config import (
    ClientCertificate,
    ClusterConfig,
    ExecPlugin,
    Impersonation,
    MintedToken,
    SecretText,
    StaticToken,
    TokenFile,
    TokenSource,
)
from podbay.kube.kubeconfig import parse_kubeconfig

ROOT = Path("/home/me/dags")
TRACEBACK = """Traceback (most recent call last):
  File "/usr/lib/python3/importlib/__init__.py", line 9, in import_module
    return _bootstrap._gcd_import(name)
           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "/home/me/dags/etl.py", line 4, in <module>
    read("x")
    ~~~~^^^^^
  File "/home/me/dags/lib/io.py", line 2, in read
    return json.loads(x)
  File "/usr/lib/python3/json/decoder.py", line 355, in raw_decode
    raise JSONDecodeError("Expecting value", s, err.value) from None
json.decoder.JSONDecodeError: Expecting value: line 1
and a second line
"""


def test_a_traceback_keeps_the_users_frames() -> None:
    assert shorten(TRACEBACK, ROOT).splitlines() == [
        '  File "/home/me/dags/etl.py", line 4, in <module>',
        '    read("x")',
        '  File "/home/me/dags/lib/io.py", line 2, in read',
        "    return json.loads(x)",
        "json.decoder.JSONDecodeError: Expecting value: line 1",
        "and a second line",
    ]


def test_a_traceback_from_elsewhere_keeps_its_last_frame() -> None:
    assert shorten(TRACEBACK, Path("/other")).splitlines()[0].startswith('  File "/usr/lib/python3/json')


def test_a_chain_of_exceptions_ends_with_the_last() -> None:
    chain = f"{TRACEBACK}\nThe above exception was the direct cause of the following exception:\n\n" + (
        'Traceback (most recent call last):\n  File "/home/me/dags/etl.py", line 9, in f\n    g()\nOSError: no\n'
    )
    assert shorten(chain, ROOT).splitlines()[-1] == "OSError: no"
    assert "JSONDecodeError" not in shorten(chain, ROOT)


def test_a_syntax_error_keeps_its_place() -> None:
    text = (
        'Traceback (most recent call last):\n  File "<frozen importlib._bootstrap>", line 2, in load\n'
        '  File "/home/me/dags/etl.py", line 2\n    with DAG("x") as d\n                      ^\n'
        "SyntaxError: expected ':'\n"
    )
    said = shorten(text, ROOT).splitlines()
    assert said[0] == '  File "/home/me/dags/etl.py", line 2'
    assert said[-1] == "SyntaxError: expected ':'"
    assert not any("frozen" in line for line in said)


def test_text_that_is_no_traceback() -> None:
    assert (
        shorten("AirflowDagCycleException: Cycle detected\n", ROOT)
        == "AirflowDagCycleException: Cycle detected"
    )


def test_the_end_of_a_task_log(tmp_path: Path) -> None:
    directory = tmp_path / "dag_id=d" / "run_id=r" / "task_id=t" / "map_index=3"
    directory.mkdir(parents=True)
    error = {
        "timestamp": "4",
        "level": "error",
        "event": "Task failed",
        "error_detail": [
            {
                "exc_type": "ValueError",
                "exc_value": "no",
                "frames": [{"filename": "/d/x.py", "lineno": 3, "name": "f"}],
            }
        ],
    }
    worker = [
        {"timestamp": "1", "level": "info", "event": "::group::Pre"},
        {"timestamp": "2", "level": "info", "event": "first"},
        {"timestamp": "2.5", "event": "noise", "logger": "airflow.dag_processing.bundles"},
        {"timestamp": "2.6", "event": "trigger d/r/t/3/1 (ID 6) starting"},
        {"timestamp": "2.7", "event": "trigger completed"},
        error,
    ]
    (directory / "attempt=1.log").write_text("".join(json.dumps(event) + "\n" for event in worker))
    (directory / "attempt=1.log.trigger.7.log").write_text(
        json.dumps({"timestamp": "3", "level": "info", "event": "second"}) + '\nno json\n{"cut off'
    )
    (directory / "attempt=2.log").write_text("")
    files = log_files(tmp_path, "d", "r", "t", 3, 1)
    assert [line.text for line in last_lines(files, 3)] == ["first", "second", "Task failed"]
    (last,) = last_lines(files, 1)
    assert (last.error, last.frames) == ("ValueError: no", ("/d/x.py:3 in f",))
    assert log_files(tmp_path, "d", "r", "absent", -1, 1) == []


def wanted(**changes: object) -> Wanted:
    given = {
        "directory": Path("/h"),
        "dags": Path("/100% mine"),
        "database": "postgresql://u:p%40ss@db/x",
        "port": 1234,
        "keys": Keys(fernet="f", jwt="j", session="s"),
        "lasting": False,
    }
    return Wanted(**(given | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("lasting", [True, False])
def test_airflow_cfg_reads_back(lasting: bool) -> None:
    found = configparser.ConfigParser()
    found.read_string(airflow_cfg(wanted(lasting=lasting, deployment="own-1")))
    assert found["podbay"]["deployment"] == "own-1"
    assert found["core"]["dags_folder"] == "/100% mine"
    assert found["database"]["sql_alchemy_conn"] == "postgresql://u:p%40ss@db/x"
    assert found["api"]["host"] == "127.0.0.1"
    assert found["core"]["execution_api_server_url"] == "http://127.0.0.1:1234/execution/"
    assert json.loads(found["dag_processor"]["dag_bundle_config_list"])[0]["kwargs"] == {"path": "/100% mine"}
    assert found["usage_data_collection"]["enabled"] == "False"
    # At least 1 and up to 3 s each: a task waits half a minute for a task API that is slow to start.
    assert int(found["workers"]["execution_api_retries"]) >= 30
    assert found["scheduler"].get("use_job_schedule", "True") == str(lasting)
    # Everybody is the administrator only where nobody can look in for long.
    assert ("simple_auth_manager_all_admins" in found["core"]) is not lasting


def test_the_users_own_airflow_is_left_alone() -> None:
    mine = {
        "AIRFLOW_HOME": "/mine",
        "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "postgresql://production",
        "AIRFLOW_CONN_KUBERNETES_DEFAULT": "production",
        "AIRFLOW_CONN_WAREHOUSE": "kept",
        "AIRFLOW_VAR_LIMIT": "kept",
        "KUBECONFIG": "/mine",
        "HOME": "/me",
    }
    found = environment(Path("/h"), Path("/h/kubeconfig"), "team", mine)
    assert (found["AIRFLOW_HOME"], found["AIRFLOW_CONFIG"]) == ("/h", "/h/airflow.cfg")
    assert found["KUBECONFIG"] == found["PODBAY_RUN_KUBECONFIG"] == "/h/kubeconfig"
    assert {key for key, value in found.items() if value == "kept"} == {
        "AIRFLOW_CONN_WAREHOUSE",
        "AIRFLOW_VAR_LIMIT",
    }
    namespaces = {f"AIRFLOW__{section}__NAMESPACE" for section in ("KUBERNETES", "KUBERNETES_EXECUTOR")}
    assert {key: value for key, value in found.items() if key.startswith("AIRFLOW__")} == dict.fromkeys(
        namespaces, "team"
    )
    chosen = environment(Path("/h"), Path("/k"), "team", {"AIRFLOW__KUBERNETES__NAMESPACE": "mine"})
    assert {chosen[key] for key in namespaces} == {"mine"}
    assert "production" not in str(found)
    extra = json.loads(found["AIRFLOW_CONN_KUBERNETES_DEFAULT"])["extra"]
    assert extra == {"kube_config_path": "/h/kubeconfig", "namespace": "team"}
    assert airflow_connection(Path("/h/kubeconfig"), "team") == found["AIRFLOW_CONN_KUBERNETES_DEFAULT"]


def test_another_airflow_s_name_does_not_come_along() -> None:
    """Its healer would end this one's pods, and this one's healer its."""
    mine = {
        "AIRFLOW__PODBAY__DEPLOYMENT": "production",
        "AIRFLOW__PODBAY__DEPLOYMENT_CMD": "echo production",
        "AIRFLOW__PODBAY__DEPLOYMENT_SECRET": "production",
        "AIRFLOW__PODBAY__POD_URL": "kept",
    }
    found = environment(Path("/h"), Path("/h/kubeconfig"), "team", mine)
    assert found["AIRFLOW__PODBAY__POD_URL"] == "kept"
    assert "production" not in str(found)
    said = name_left_out(mine)
    assert said.startswith("note: AIRFLOW__PODBAY__DEPLOYMENT and AIRFLOW__PODBAY__DEPLOYMENT_CMD and ")
    assert name_left_out({"AIRFLOW__PODBAY__POD_URL": "kept"}) == ""


PEM = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
CONFIGS = [
    ClusterConfig(
        server="https://a:1", credential=StaticToken(SecretText("t")), ca_pem=PEM, namespace="team"
    ),
    ClusterConfig(
        server="https://a:1/prefix",
        certificate=ClientCertificate(PEM, SecretText(PEM)),
        insecure=True,
        tls_server_name="other",
        proxy_url="http://proxy:1",
    ),
    ClusterConfig(server="https://a:1", credential=TokenFile(Path(__file__)), ca_path=Path(__file__)),
    ClusterConfig(
        server="https://a:1",
        credential=ExecPlugin(
            command="aws",
            args=("eks", "get-token"),
            env=(("AWS_PROFILE", SecretText("p")),),
            api_version="client.authentication.k8s.io/v1beta1",
            interactive_mode="Never",
            provide_cluster_info=True,
        ),
        impersonation=Impersonation("me", groups=("g",), extra=(("k", ("v",)),)),
    ),
]


@pytest.mark.parametrize("config", CONFIGS, ids=["token", "certificate", "files", "plugin"])
def test_a_kubeconfig_reads_back(config: ClusterConfig) -> None:
    read = parse_kubeconfig(kubeconfig_of(config), base=Path("/"))
    for name in ("server", "namespace", "ca_pem", "ca_path", "insecure", "tls_server_name", "proxy_url"):
        assert getattr(read, name) == getattr(config, name), name
    assert (read.certificate, read.impersonation) == (config.certificate, config.impersonation)
    if isinstance(config.credential, ExecPlugin):
        assert isinstance(read.credential, ExecPlugin)
        assert read.credential.command == "aws"
        assert read.credential.env == config.credential.env
    else:
        assert read.credential == config.credential


def test_a_token_made_in_this_process_cannot_be_given_away() -> None:
    async def mint() -> MintedToken:
        raise AssertionError

    config = ClusterConfig(server="https://a", credential=TokenSource("eks", mint))
    with pytest.raises(InvalidInputError, match="cannot be given to Airflow"):
        kubeconfig_of(config)


def test_deaths_are_answered_ever_later_and_forgotten() -> None:
    part = Supervision()
    waits = [part.died(at) for at in (0.0, 1.0, 2.0, 3.0, 4.0)]
    assert waits == [0.5, 2.0, 8.0, LAST_SECONDS, LAST_SECONDS]
    assert part.loops(5.0)
    assert not part.loops(500.0)
    assert part.died(500.0) == 0.5


def test_the_last_words_of_a_component_are_whole(tmp_path: Path) -> None:
    home = AirflowHome(tmp_path)
    assert home.last_words("migrate").startswith("it said nothing. Its log is ")
    said = [
        'sqlalchemy.exc.OperationalError: connection to server at "db", port 1 failed: Connection refused',
        "\tIs the server running on that host and accepting TCP/IP connections?",
        "",
        "(Background on this error at: https://sqlalche.me/e/20/e3q8)",
    ]
    home.log("migrate").write_text("\n".join(["Traceback …", *said]))
    assert home.last_words("migrate") == f"{said[0]} {said[1].strip()}. Its log is {tmp_path}/migrate.log"
