"""Slips in the options of `podbay pod run`, said in words of the command line; advice that names options."""

from __future__ import annotations

import pytest

from podbay.cli.option_words import in_options
from podbay.cli.pod_request import pod_request
from podbay.cli.pod_words import PodWords
from podbay.errors import InvalidInputError


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (PodWords(image="i", cpu="abc"), "--cpu abc: not a quantity; write one such as 500m or 2"),
        (PodWords(image="i", cpu="1:x"), "--cpu 1:x: x is not a quantity; write one such as 500m or 2"),
        (PodWords(image="i", cpu="-1"), "--cpu -1: less than nothing"),
        (PodWords(image="i", memory="512MB"), "--memory 512MB: not a quantity; write one such as 512Mi"),
        (PodWords(image="i", memory="much"), "--memory much: not a quantity; write one such as 512Mi or 2Gi"),
        (
            PodWords(image="i", memory="512"),
            "--memory 512: 512 bytes are too little to start a container. Write a unit: 512Mi",
        ),
        (
            PodWords(image="i", memory="1Gi:1m"),
            "--memory 1Gi:1m: 1 bytes are too little to start a container. Write a unit: 512Mi or 2Gi",
        ),
        (
            PodWords(image="i", gpu="x"),
            "--gpu x: not a whole number; write one such as 1, or RESOURCE=N such as amd.com/gpu=1",
        ),
        (
            PodWords(image="i", name="Foo_Bar"),
            "--name Foo_Bar: lower-case letters, digits and '-' only, at most 253; for example foo-bar",
        ),
    ],
)
def test_slips_are_told_in_words_of_the_command_line(words: PodWords, said: str) -> None:
    with pytest.raises(InvalidInputError) as err:
        pod_request(words, (), namespace=None)
    assert str(err.value) == said


def test_a_small_request_without_a_limit_is_no_slip_nor_is_a_limit_that_is_none() -> None:
    assert pod_request(PodWords(image="i", memory="512:"), (), namespace=None)
    assert pod_request(PodWords(image="i", memory="0"), (), namespace=None)


def test_advice_in_options() -> None:
    assert (
        in_options("Raise `execution_timeout`, or make it faster.") == "Raise --timeout, or make it faster."
    )
    assert in_options("Lower `resources.requests` of memory to 1Gi") == "Lower --memory to 1Gi"
    assert in_options("Write a unit: `resources.limits.memory` 512Mi") == "Write a unit: --memory 512Mi"
    assert in_options("Correct `nodeSelector` or `tolerations`") == "Correct --node-selector or `tolerations`"
