"""Pairs of files: a podbay.yaml, with what a cluster has if anything, and the objects and the plan that come out.

`pytest tests/deployment --update-golden` writes the second ones. NAME.live.yaml are objects as clusters
gave them (script/update-deployment-states).
"""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
import yaml

from podbay.deployment.desired import desired_objects
from podbay.deployment.model import Deployment
from podbay.deployment.plan import Observed, Plan, make_plan
from podbay.deployment.reading import parse_deployment
from podbay.deployment.showing import plan_json, plan_lines
from podbay.objects.meta import name_of
from podbay.pods.render import render

GOLDEN = Path(__file__).parents[1] / "golden" / "deployments"
CASES = sorted(path.name.removesuffix(".yaml") for path in GOLDEN.glob("*.yaml") if path.name.count(".") == 1)


def read(case: str) -> tuple[Deployment, Observed]:
    wanted = parse_deployment((GOLDEN / f"{case}.yaml").read_text())
    live = GOLDEN / f"{case}.live.yaml"
    objects = yaml.safe_load(live.read_text()) if live.exists() else []
    references = {("Secret", name): False for name in wanted.pods.pull_secrets}
    return wanted, Observed(objects={(o["kind"], name_of(o)): o for o in objects}, references=references)


def compare(path: Path, text: str, request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--update-golden"):
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("case", [case for case in CASES if not (GOLDEN / f"{case}.live.yaml").exists()])
def test_the_objects_are_the_expected_ones(case: str, request: pytest.FixtureRequest) -> None:
    objects = desired_objects(read(case)[0])
    text = "---\n".join(render(each, reveal=True) for each in objects)
    compare(GOLDEN / f"{case}.objects.yaml", text, request)
    assert list(yaml.safe_load_all(text)) == objects


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("options", ["", "adopt", "force"])
def test_the_plan_is_the_expected_one(case: str, options: str, request: pytest.FixtureRequest) -> None:
    plan = planned(case, options)
    text = "".join(f"{line}\n" for line in plan_lines(plan))
    if options and text == "".join(f"{line}\n" for line in plan_lines(planned(case, ""))):
        return
    compare(GOLDEN / f"{'.'.join(filter(None, (case, options)))}.plan.txt", text, request)


def planned(case: str, options: str) -> Plan:
    wanted, observed = read(case)
    return make_plan(wanted, observed, adopt=options == "adopt", force=options == "force")


@pytest.mark.parametrize("case", CASES)
def test_planning_changes_nothing_and_gives_the_same_again(case: str) -> None:
    wanted, observed = read(case)
    before = orjson.dumps([*observed.objects.values()])
    assert plan_json(make_plan(wanted, observed)) == plan_json(make_plan(wanted, observed))
    assert orjson.dumps([*observed.objects.values()]) == before


@pytest.mark.parametrize("case", CASES)
def test_no_plan_shows_a_secret(case: str) -> None:
    for adopt in (False, True):
        wanted, observed = read(case)
        plan = make_plan(wanted, observed, adopt=adopt)
        shown = "\n".join(plan_lines(plan)) + orjson.dumps(plan_json(plan)).decode()
        assert "aHVudGVyMg" not in shown
        assert "hunter2" not in shown
