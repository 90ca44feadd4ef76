"""Usage out of receipts: sums, prices, order, and the chart."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import orjson
import pytest

from podbay.deployment.model import Prices
from podbay.deployment.usage import Spent, price_of, spent_in, usage_by, usage_json
from podbay.deployment.usage_chart import usage_chart
from podbay.lifecycle.checkpoint import Checkpoint
from podbay.lifecycle.outcome import Outcome, Receipt

PRICES = Prices(cpu_hour=2.0, memory_gib_hour=0.5, currency="EUR")


def spent(dag: str, task: str, uid: str, *, hours: float = 1.0, cpu: float = 1.0, gib: float = 1.0) -> Spent:
    return Spent(dag, task, uid, Receipt(held=hours * 3600, cpu=cpu, memory=int(gib * (1 << 30))))


def test_tasks_are_summed_and_priced_the_dearest_first() -> None:
    found = usage_by(
        "task", [spent("a", "x", "1"), spent("a", "x", "2", hours=0.5), spent("b", "y", "3", cpu=8)], PRICES
    )
    assert [(each.name, each.pods) for each in found] == [("b.y", 1), ("a.x", 2)]
    assert (found[1].cpu_hours, found[1].memory_hours) == (1.5, 1.5)
    assert price_of(found[1], PRICES) == pytest.approx(3.75)


def test_a_pod_of_two_tries_counts_once() -> None:
    (whole,) = usage_by("dag", [spent("a", "x", "1"), spent("a", "x", "1"), spent("a", "y", "2")], PRICES)
    assert (whole.name, whole.pods, whole.cpu_hours) == ("a", 2, 2.0)


def test_without_prices_there_is_no_price_and_most_cpu_is_first() -> None:
    found = usage_by("dag", [spent("a", "x", "1"), spent("b", "x", "2", cpu=2)], Prices())
    said = usage_json(found, Prices())
    assert [(each["dag"], each["price"], each["currency"]) for each in said] == [
        ("b", None, None),
        ("a", None, None),
    ]


@pytest.mark.parametrize("as_text", [False, True])
def test_a_checkpoint_tells_what_its_pod_had(as_text: bool) -> None:
    receipt = Receipt(held=90.0, cpu=0.5, memory=1 << 28)
    outcome = Outcome(kind="failed", message="m", uid="u", receipt=receipt)
    value = {"try": 1, "state": Checkpoint(outcome=outcome, pod="p", uid="u").to_json()}
    found = spent_in("d", "t", orjson.dumps(value).decode() if as_text else value)
    assert found == Spent("d", "t", "u", receipt)


def test_what_was_measured_is_summed_beside_it() -> None:
    outcome = Outcome(
        kind="succeeded", message="m", uid="u", receipt=Receipt(held=3600.0, cpu=2.0, memory=4 << 30)
    )
    kept = {"try": 1, "state": Checkpoint(outcome=outcome, pod="p", uid="u").to_json()}
    used = {"samples": 3, "cpu": 0.25, "memory": 1 << 30, "peakMemory": 3 << 30}
    measured = spent_in("d", "t", {**kept, "used": used})
    assert measured is not None
    (said,) = usage_json(usage_by("task", [measured, spent("d", "t", "other")], PRICES), PRICES)
    assert (said["cpuHours"], said["usedCpuHours"], said["usedMemoryGiBHours"]) == (3.0, 0.25, 1.0)
    assert (said["pods"], said["measuredPods"], said["peakMemoryBytes"]) == (2, 1, 3 << 30)
    (unknown,) = usage_json(usage_by("task", [spent("d", "t", "other")], PRICES), PRICES)
    assert unknown["usedCpuHours"] is None


@pytest.mark.parametrize(
    "value",
    [
        None,
        "no JSON",
        {"try": 1, "state": {"version": 99}},
        {"try": 1, "state": Checkpoint(pod="p", uid="u").to_json()},
        {"try": 1, "state": Checkpoint(outcome=Outcome(kind="refused", message="m")).to_json()},
    ],
)
def test_what_tells_nothing_is_left_out(value: object) -> None:
    assert spent_in("d", "t", value) is None


def test_the_chart_is_xml_and_shows_every_name_whatever_it_holds() -> None:
    names = ["a<b>&c", "x" * 80]
    found = usage_by("dag", [spent(name, "t", name) for name in names], PRICES)
    root = ET.fromstring(usage_chart(found, PRICES, title="Last <24h>"))
    texts = [each.text for each in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "a<b>&c" in texts
    assert any(text and text.startswith("xxx") and text.endswith("…") for text in texts)
    assert "1.00 vCPU h, 1.00 GiB h, 2.50 EUR" in texts


def test_many_bars_end_in_one_of_all_others() -> None:
    found = usage_by("dag", [spent(f"d{index:03}", "t", str(index)) for index in range(60)], PRICES)
    chart = usage_chart(found, PRICES, title="t")
    assert "20 others" in chart
    assert "20.00 vCPU h" in chart
    assert "nothing was used" in usage_chart([], PRICES, title="t")
