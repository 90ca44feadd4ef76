"""podbay.yaml read: what it means, and what is said of one that cannot be meant."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from podbay.deployment.format import FILE, json_schema
from podbay.deployment.kinds import Struct
from podbay.deployment.model import Deployment, PodRules
from podbay.deployment.naming import generate_namespace, with_namespace
from podbay.deployment.reading import load_deployment, parse_deployment
from podbay.deployment.starter import name_from, starter_file
from podbay.errors import InvalidInputError, PodbayError
from podbay.objects import names
from podbay.objects.quantity import Quantity

EVERYTHING = """\
version: 1
name: analytics
cluster: prod
namespace: misty-harbor-4821
pods:
  default: {cpu: 0.5, memory: 1Gi}
  maximum: {cpu: 8, memory: 16Gi, ephemeral_storage: 10G}
  requests: as-given
  memory_per_cpu: 2Gi
  architectures: [amd64, arm64]
  service_account: tasks
  service_account_annotations: {eks.amazonaws.com/role-arn: "arn:aws:iam::111122223333:role/tasks"}
  allowed_service_accounts: [etl]
  persistent_volumes: true
  protected_labels: {team: data, example.com/cost: "42"}
  priority_class: batch
  pull_secrets: [registry]
  pull_secrets_by_image: {"ghcr.io/team/*": [team]}
  keep: on_failure
  keep_for: 7d
  security: restricted
  retry_memory_factor: 1.5
quota: {cpu: 10, memory: 20Gi, pods: 50}
queues:
  gpu:
    node_selector: {pool: gpu}
    tolerations: [{key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}]
secrets: [MY_SECRET, OTHER_1]
images: {airflow: "apache/airflow:3.3.2", etl: registry.example.com/etl:1}
network: {ingress: deny, egress: deny, egress_to: [10.0.0.0/8]}
prices: {cpu_hour: 0.04, memory_gib_hour: 0.005, currency: EUR}
airflow: {service_accounts: [airflow/airflow-worker], in_namespace: true, take_over_upstream: true, lending: true, usage_every: 15s}
admission_policy: off
"""


def test_every_field_has_a_meaning() -> None:
    found = parse_deployment(EVERYTHING)
    assert found.name == "analytics"
    assert found.cluster == "prod"
    assert found.pods.default.to_json() == {"cpu": "500m", "memory": "1Gi", "ephemeral-storage": "256Mi"}
    assert found.pods.maximum.to_json() == {"cpu": "8", "memory": "16Gi", "ephemeral-storage": "10G"}
    assert found.pods.memory_per_cpu == Quantity.parse("2Gi")
    assert found.pods.keep_for == 7 * 86400
    assert found.pods.protected_labels == {"team": "data", "example.com/cost": "42"}
    assert found.service_accounts == ("tasks", "etl")
    assert set(found.pods.service_account_annotations) == {"eks.amazonaws.com/role-arn"}
    assert found.pods.all_pull_secrets == ("registry", "team")
    assert found.quota.pods == 50
    assert found.queues["gpu"].tolerations == (
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
    )
    assert found.airflow.service_accounts == (("airflow", "airflow-worker"),)
    assert found.network.egress_to == ("10.0.0.0/8",)
    assert found.prices.memory_gib_hour == 0.005
    assert (found.pods.retry_memory_factor, found.airflow.usage_every) == (1.5, 15)
    assert found.admission_policy == "off"


def test_the_example_above_leaves_no_field_out() -> None:
    def fields(kind: Any, value: Any, path: str) -> list[str]:
        if not isinstance(kind, Struct):
            return []
        missing = [f"{path}.{each.name}" for each in kind.entries if each.name not in value]
        for each in kind.entries:
            if each.name in value:
                missing += fields(each.kind, value[each.name], f"{path}.{each.name}")
        return missing

    said = yaml.safe_load(EVERYTHING)
    assert fields(FILE, said, "") == [".pods.default.ephemeral_storage"]


def test_what_is_shipped_is_what_astro_ships() -> None:
    rules = parse_deployment("name: a").pods
    assert rules == PodRules()
    assert rules.default.to_json() == {"cpu": "250m", "memory": "512Mi", "ephemeral-storage": "256Mi"}
    assert rules.maximum.to_json() == {"cpu": "43", "memory": "86Gi", "ephemeral-storage": "100Gi"}
    assert rules.requests == "follow-limits"
    assert not rules.persistent_volumes
    assert parse_deployment("name: a\nnamespace: n-1").service_account == "n-1-kpo"


WRONG: dict[str, tuple[str, str]] = {
    "no name": ("version: 1", "line 1: name: is required"),
    "an unknown key": ("name: a\nnamespac: b", "line 2: namespac: unknown field; did you mean namespace?"),
    "a key in another style": (
        "name: a\npods: {protected-labels: {}}",
        "line 2: pods.protected-labels: unknown field; did you mean protected_labels?",
    ),
    "a key twice": ("name: a\nquota: {cpu: 1}\nquota: {}", "line 3: quota: stands here twice"),
    "a name that is none": ("name: My_Deployment", "line 1: name: a lowercase RFC 1123 label"),
    "a name too long": (f"name: {'a' * 41}", "line 1: name: must have at most 40 characters"),
    "a namespace of the system": (
        "name: a\nnamespace: kube-system",
        "line 2: namespace: kube-system belongs to",
    ),
    "no unit": (
        "name: a\npods:\n  default:\n    memory: 512",
        "line 4: pods.default.memory: 512 has no unit; write",
    ),
    "thousandths of bytes": (
        "name: a\npods: {default: {memory: 512m}}",
        "is a thousandth of a byte; write 512Mi",
    ),
    "memory for CPU": ("name: a\nquota: {cpu: 2Gi}", "line 2: quota.cpu: 2Gi has the unit of memory"),
    "no quantity": ("name: a\nquota: {cpu: many}", "line 2: quota.cpu: many is not a quantity"),
    "nothing": ("name: a\nquota: {memory: 0Gi}", "line 2: quota.memory: must be above zero"),
    "less than nothing": ("name: a\nquota: {cpu: -1}", "line 2: quota.cpu: must be above zero"),
    "half a pod": ("name: a\nquota: {pods: 0.5}", "line 2: quota.pods: must be a whole number"),
    "minimum above maximum": (
        "name: a\npods:\n  default: {cpu: 2}\n  maximum: {cpu: 1}",
        "line 3: pods.default.cpu: 2 is above pods.maximum.cpu (1)",
    ),
    "shipped default above maximum": (
        "name: a\npods: {maximum: {memory: 256Mi}}",
        "pods.default.memory: 512Mi is above pods.maximum.memory (256Mi)",
    ),
    "quota below default": (
        "name: a\nquota: {cpu: 100m}",
        "line 2: quota.cpu: 100m is below pods.default.cpu (250m)",
    ),
    "another ratio": (
        "name: a\npods: {default: {cpu: 1, memory: 3Gi}, memory_per_cpu: 2Gi}",
        "line 2: pods.default.memory: must be 2Gi: 1 CPU times pods.memory_per_cpu (2Gi), not 3Gi",
    ),
    "another ratio of the quota": (
        "name: a\npods: {memory_per_cpu: 2Gi}\nquota: {cpu: 10, memory: 10Gi}",
        "line 3: quota.memory: must be 20Gi",
    ),
    "a time without its unit": (
        "name: a\npods: {keep_for: 24}",
        "line 2: pods.keep_for: must be a time with its",
    ),
    "a time that is longer than any hold": (
        "name: a\npods: {keep_for: 604801s}",
        "line 2: pods.keep_for: must be at most 7d",
    ),
    "a time that no calendar has": (
        "name: a\npods: {keep_for: 9999999d}",
        "line 2: pods.keep_for: must be at most 7d",
    ),
    "a time that is no number for Python": (
        f"name: a\npods: {{keep_for: {'9' * 5000}d}}",
        "line 2: pods.keep_for: must be at most 7d",
    ),
    "a time between two looks": (
        "name: a\nairflow: {usage_every: 8d}",
        "line 2: airflow.usage_every: must be at most 7d",
    ),
    "a price that is no number for a computer": (
        f"name: a\nprices: {{cpu_hour: {'9' * 400}}}",
        "line 2: prices.cpu_hour: must be a finite number",
    ),
    "a price without an end": (
        "name: a\nprices: {cpu_hour: .inf}",
        "line 2: prices.cpu_hour: must be a finite number",
    ),
    "another word": ("name: a\npods: {requests: follow_limits}", "did you mean follow-limits?"),
    "a label of the platform": (
        "name: a\npods: {protected_labels: {dag_id: x}}",
        "line 2: pods.protected_labels[dag_id]: is written by the platform itself",
    ),
    "a label with blanks": (
        "name: a\npods: {protected_labels: {team: a b}}",
        "pods.protected_labels[team]: ",
    ),
    "an annotation of no such name": (
        "name: a\npods: {service_account_annotations: {role arn: x}}",
        "pods.service_account_annotations[role arn]: as a key: ",
    ),
    "a number as label": (
        "name: a\npods: {protected_labels: {team: 42}}",
        "must be a string, not an integer",
    ),
    "a small secret name": (
        "name: a\nsecrets: [my_secret]",
        "line 2: secrets[0]: must be in capitals: MY_SECRET",
    ),
    "a variable of the platform": (
        "name: a\nsecrets: [AIRFLOW__KUBERNETES__NAMESPACE]",
        "is what the platform itself tells Airflow",
    ),
    "an account without namespace": (
        "name: a\nairflow: {service_accounts: [worker]}",
        "line 2: airflow.service_accounts[0]: must be NAMESPACE/NAME",
    ),
    "a field of a toleration": (
        "name: a\nqueues: {gpu: {tolerations: [{operato: x}]}}",
        "line 2: queues[gpu].tolerations[0].operato: unknown field; did you mean operator?",
    ),
    "a network that is none": (
        "name: a\nnetwork: {egress: deny, egress_to: [10.0.0.0/99]}",
        "network.egress_to[0]: ",
    ),
    "egress_to without deny": (
        "name: a\nnetwork: {egress_to: [10.0.0.0/8]}",
        "only with network.egress: deny",
    ),
    "a factor that would lessen": (
        "name: a\npods: {retry_memory_factor: 0.5}",
        "line 2: pods.retry_memory_factor: must be from 1 to 4",
    ),
    "a factor without measure": (
        "name: a\npods: {retry_memory_factor: 10}",
        "line 2: pods.retry_memory_factor: must be from 1 to 4",
    ),
    "a price below nothing": ("name: a\nprices: {cpu_hour: -1}", "prices.cpu_hour: must not be negative"),
    "a list for a mapping": ("name: a\npods: []", "line 2: pods: must be a mapping, not a list"),
    "a sentence": ("hello", "must be a mapping, not a string"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said_with_file_line_and_field(case: str) -> None:
    text, said = WRONG[case]
    with pytest.raises(InvalidInputError) as caught:
        parse_deployment(text, "team/podbay.yaml")
    assert str(caught.value).startswith("team/podbay.yaml: ")
    assert said in str(caught.value)
    assert re.search(r"\bline \d+", str(caught.value))


def test_everything_wrong_is_said_at_once_in_the_order_of_the_file() -> None:
    text = "pods:\n  default: {cpu: x}\n  keep: off\nsecrets: [a]\nname: A\n"
    with pytest.raises(InvalidInputError) as caught:
        parse_deployment(text)
    lines = str(caught.value).splitlines()
    assert lines[0] == "podbay.yaml: 4 problems"
    assert [each.strip().split(":")[0] for each in lines[1:]] == ["line 2", "line 3", "line 4", "line 5"]


def test_a_file_of_a_newer_version_is_refused_whatever_else_it_says() -> None:
    with pytest.raises(InvalidInputError, match=r"version: 2 is newer than what Podbay .* Upgrade"):
        parse_deployment("version: 2\nname: a\nsomething_new: yes")


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "a: b: c", "a: [", "--- {name: a}\n--- {name: b}", "name: 2026-99-99"]
)
def test_what_is_no_document_is_an_error_of_ours(text: str) -> None:
    with pytest.raises(InvalidInputError):
        parse_deployment(text)


def test_an_anchor_within_itself_ends() -> None:
    with pytest.raises(InvalidInputError):
        parse_deployment("name: a\nsecrets: &a [*a]")


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["1Gi", "1", "amd64", "deny"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([each.name for each in FILE.entries]) | st.text(max_size=5), VALUES))
def test_no_document_makes_it_stumble(document: dict[str, Any]) -> None:
    text = yaml.safe_dump(document, allow_unicode=True)
    try:
        found = parse_deployment(text)
    except PodbayError:
        return
    assert isinstance(found, Deployment)


@given(st.text())
def test_no_text_makes_it_stumble(text: str) -> None:
    try:
        parse_deployment(text.encode("utf-8", "surrogatepass"))
    except PodbayError:
        pass


def test_the_published_schema_is_that_of_the_reader() -> None:
    published = resources.files("podbay.deployment").joinpath("podbay.schema.json").read_bytes()
    assert orjson.loads(published) == json_schema(), (
        "write it anew: podbay schema > src/podbay/deployment/podbay.schema.json"
    )


def test_a_file_that_is_not_there_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="podbay init"):
        load_deployment(tmp_path / "podbay.yaml")
    with pytest.raises(InvalidInputError, match="cannot be read"):
        load_deployment(tmp_path)


def test_namespaces_are_two_words_and_four_digits() -> None:
    rng = random.Random(1)
    found = {generate_namespace(rng) for _ in range(2000)}
    assert len(found) == 2000
    assert all(re.fullmatch(r"[a-z]+-[a-z]+-\d{4}", each) for each in found)
    assert not [each for name in found for each in names.dns1123_label_errors(name)]


def test_a_namespace_is_added_without_touching_the_rest() -> None:
    text = "# mine\nversion: 1\nname: a  # short\nnamespace:   # later\n\nquota: {cpu: 1}  # all\n"
    changed = with_namespace(text, "misty-harbor-4821")
    assert changed == (
        "# mine\nversion: 1\nname: a  # short\nnamespace: misty-harbor-4821\n\nquota: {cpu: 1}  # all\n"
    )
    assert parse_deployment(changed).namespace == "misty-harbor-4821"
    with pytest.raises(InvalidInputError, match="into the file yourself"):
        with_namespace("{name: a}", "misty-harbor-4821")


@pytest.mark.parametrize(
    ("directory", "name"),
    [("My Airflow", "my-airflow"), ("---", "airflow"), ("a" * 60, "a" * 40), ("dags_2", "dags-2")],
)
def test_the_first_file_is_a_good_one(directory: str, name: str) -> None:
    assert name_from(directory) == name
    found = parse_deployment(starter_file(name, "misty-harbor-4821"))
    assert replace(found.pods, maximum=PodRules().maximum) == PodRules()
    most, quota = found.pods.maximum, found.quota
    assert most.cpu is not None and most.memory is not None
    assert quota.cpu is not None and quota.memory is not None
    # A pod that is let in could also start.
    assert most.cpu <= quota.cpu and most.memory <= quota.memory
