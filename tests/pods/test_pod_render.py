"""YAML for people and for kubectl: nothing secret, nothing that reads back as something else."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from podbay.apiserver.schema import goyaml
from podbay.pods.build import build_pod
from podbay.pods.render import masked, render
from podbay.pods.request import PodRequest

SECRET = "hunter2"


@pytest.mark.parametrize(
    "changes",
    [
        {"env": {"DB_PASSWORD": SECRET}},
        {"env": {"apiKey": SECRET}},
        {"env": {"MY_ACCESS_TOKEN": SECRET}},
        {"env": {"URL": f"postgres://user:{SECRET}@db:5432/x"}},
        {"args": ["--password", SECRET]},
        {"args": [f"--api-key={SECRET}"]},
        {"args": [f"curl https://me:{SECRET}@host/"]},
        {"init_containers": [{"name": "a", "image": "a", "env": [{"name": "TOKEN", "value": SECRET}]}]},
    ],
)
def test_what_looks_secret_is_masked(changes: dict[str, Any]) -> None:
    pod = build_pod(PodRequest(image="a", **changes))
    assert SECRET not in render(pod)
    assert SECRET in render(pod, reveal=True)


def test_known_secrets_are_masked_wherever_they_stand() -> None:
    pod = build_pod(
        PodRequest(image="a", env={"MODE": f"x{SECRET}{SECRET}y"}, annotations={"a/b": f"{SECRET}-long"})
    )
    text = render(pod, secrets=[SECRET, f"{SECRET}-long", ""])
    assert SECRET not in text
    assert "-long" not in text


def test_what_is_not_secret_is_shown() -> None:
    pod = build_pod(
        PodRequest(
            image="a",
            env={"MODE": "fast"},
            args=["--password-file", "--verbose", "x=1"],
            secrets=[{"deploy_type": "env", "deploy_target": "DB", "secret": "db", "key": "url"}],
        )
    )
    assert masked(pod) == pod


@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), st.text(max_size=12)))
def test_every_text_is_read_back_as_itself(annotations: dict[str, str]) -> None:
    printable = {key: value for key, value in annotations.items() if value.isprintable()}
    pod = build_pod(PodRequest(image="a", annotations=printable))
    text = render(pod, reveal=True)
    assert yaml.safe_load(text) == pod


WORDS = ["yes", "1e3", "0x1F", "1_000", "12:30", "2024-01-01", "~", "null", ".5", "-1", "+2", "0o17", "=", "<<", "NO", "1.", "infinity", ".inf", ".NaN", "", " ", "a: b", "# c", "- d", "é"]  # fmt: skip


@pytest.mark.parametrize("word", WORDS)
def test_kubectls_reader_takes_every_text_as_text(word: str) -> None:
    pod = build_pod(PodRequest(image="a", env={"A": word}))
    assert goyaml.load(render(pod, reveal=True).encode()) == (pod, [])
