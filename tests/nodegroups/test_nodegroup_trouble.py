"""Setups that fail, or are ended, while AWS or Airflow is away: no node group stays. In virtual time, against words of AWS."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from nodegroup_parts import CLUSTER, REGION, ROLE

import podbay.aws.nodegroup_work as aws_work
from podbay.airflow.calls import TaskKey, TriggererCalls
from podbay.airflow.carried import Carried
from podbay.airflow.nodegroup_work import NodegroupWork
from podbay.aws.nodegroup import NodegroupOwner, NodegroupPlan
from podbay.aws.nodegroup_work import Nodegroup
from podbay.aws.place import AwsLogin, EksPlace
from podbay.errors import CredentialError, InvalidInputError, NodegroupError, RegistryError
from podbay.registries.amazon.session import AwsCall

PLAN = NodegroupPlan(
    kubernetes_conn_id="k8s",
    node_role=ROLE,
    group_id="gpu",
    cluster_name=CLUSTER,
    region=REGION,
    aws_conn_id="aws",
    subnets=["subnet-a"],
)
PLACE = EksPlace(cluster_name=CLUSTER, region=REGION)
OWNER = NodegroupOwner(deployment="d", dag_id="dag", run_id="run", group_id="gpu")
KEY = TaskKey(dag_id="dag", run_id="run", task_id="gpu.create_nodegroup", map_index=-1, try_number=1)


class Jumping:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.passed = 0.0

    def monotonic(self) -> float:
        return self.passed

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.passed)

    async def sleep(self, seconds: float) -> None:
        self.passed += max(seconds, 0.001)
        await asyncio.sleep(0)


class Words:
    """An AWS with one node group, which is away and busy when the test says so."""

    def __init__(self, clock: Jumping) -> None:
        self.clock = clock
        self.group: dict[str, Any] | None = None
        self.away: Callable[[float], bool] = lambda _: False
        self.busy: Callable[[float], bool] = lambda _: False
        self.active_after = 200.0
        self.asked: list[str] = []

    @property
    def status(self) -> str:
        if self.group is None:
            return ""
        if self.group["status"] == "CREATING" and self.clock.passed >= self.active_after:
            self.group["status"] = "ACTIVE"
        return str(self.group["status"])

    async def do(self, call: AwsCall) -> dict[str, Any]:
        self.asked.append(call.operation)
        if self.away(self.clock.passed):
            raise CredentialError("AWS: eks: Could not connect to the endpoint URL")
        if call.operation == "create-nodegroup":
            tags = call.parameters["tags"]
            self.group = {"status": "CREATING", "tags": tags, "createdAt": self.clock.now()}
            return {}
        if self.group is None:
            raise KeyError("ResourceNotFoundException")
        if call.operation == "delete-nodegroup":
            if self.busy(self.clock.passed):
                raise RegistryError("odd", "AWS refuses eks delete-nodegroup (ResourceInUseException): busy")
            self.group["status"] = "DELETING"
            return {}
        return {"nodegroup": {**self.group, "status": self.status}}


class Calls(TriggererCalls):
    """An Airflow that fails as the test says."""

    def __init__(self) -> None:
        super().__init__()
        self.state: str | None = "failed"
        self.logins = 0
        self.fails: Callable[[str], bool] = lambda _: False

    async def aws_login(self, connection: str) -> AwsLogin:
        self.logins += 1
        if self.fails("login"):
            raise TimeoutError
        return AwsLogin()

    async def push(self, key: TaskKey, name: str, value: Any) -> None:
        if self.fails("push"):
            raise RuntimeError("API_SERVER_ERROR")

    async def extras(self, connection: str | None) -> Any:
        if self.fails("extras"):
            raise RuntimeError("API_SERVER_ERROR")
        return {"podbay_eks": {"cluster_name": CLUSTER, "region": REGION}}

    async def state_of(self, key: TaskKey) -> str | None:
        return self.state


@pytest.fixture
def clock() -> Jumping:
    return Jumping()


@pytest.fixture
def aws(clock: Jumping, monkeypatch: pytest.MonkeyPatch) -> Words:
    found = Words(clock)

    async def identity(place: EksPlace, login: AwsLogin | None = None) -> Any:
        return found

    monkeypatch.setattr(aws_work, "identity_of", identity)
    return found


def group(clock: Jumping, identity: Any = None, **changes: Any) -> Nodegroup:
    return Nodegroup(replace(PLAN, **changes), OWNER, PLACE, identity, clock=clock)


def work(clock: Jumping, calls: Calls, act: str = "make", **changes: Any) -> NodegroupWork:
    carried = Carried(parameters={}, function={"plan": replace(PLAN, **changes).to_json(), "act": act})
    return NodegroupWork(carried, KEY, calls, deployment="d", log=logging.getLogger("test"), clock=clock)


# -- AWS is away


async def test_a_setup_given_up_while_aws_is_away_is_deleted_when_it_is_back(
    aws: Words, clock: Jumping
) -> None:
    aws.active_after = 9999.0
    aws.away = lambda now: 60 <= now < 300
    with pytest.raises(NodegroupError, match=r"Could not connect.*It is being deleted\.$"):
        await group(clock).make()
    assert aws.status == "DELETING"
    assert clock.passed < 330


async def test_a_deletion_that_aws_refuses_for_now_is_asked_for_again(aws: Words, clock: Jumping) -> None:
    aws.active_after = 9999.0
    aws.busy = lambda now: now < 500
    with pytest.raises(NodegroupError, match=r"was not ACTIVE within 100 s.*It is being deleted"):
        await group(clock, create_seconds=100.0).make()
    assert aws.status == "DELETING"


async def test_a_deletion_that_is_never_taken_ends_with_its_time(aws: Words, clock: Jumping) -> None:
    aws.away = lambda now: now >= 60
    with pytest.raises(NodegroupError, match=r"could not be deleted: .*podbay aws nodegroups --remove"):
        await group(clock, delete_seconds=900.0).make()
    assert 900 < clock.passed < 1100


async def test_an_aws_that_has_never_answered_is_asked_for_five_minutes(aws: Words, clock: Jumping) -> None:
    aws.away = lambda _: True
    with pytest.raises(NodegroupError, match="could not be deleted"):
        await group(clock).make()
    assert clock.passed < 400


async def test_one_that_was_never_asked_for_is_not_waited_for(aws: Words, clock: Jumping) -> None:
    async def nobody() -> AwsLogin:
        raise InvalidInputError("connection aws does not exist")

    with pytest.raises(NodegroupError, match="connection aws does not exist"):
        await group(clock, nobody).make()
    assert clock.passed == 0


# -- Airflow is away


async def test_an_identity_that_cannot_be_renewed_is_kept(aws: Words, clock: Jumping) -> None:
    aws.active_after = 1500.0
    calls = Calls()
    calls.fails = lambda _: clock.passed > 100
    found = group(clock, lambda: calls.aws_login("aws"))
    await found.make()
    assert aws.status == "ACTIVE"
    assert calls.logins > 2, "asked again before the next ten minutes are over"


async def test_an_identity_that_airflow_does_not_tell_is_asked_for_again(aws: Words, clock: Jumping) -> None:
    calls = Calls()
    calls.fails = lambda _: clock.passed < 40
    await group(clock, lambda: calls.aws_login("aws")).make()
    assert aws.status == "ACTIVE"


async def test_an_error_that_nobody_has_thought_of_leaves_nothing(
    aws: Words, clock: Jumping, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = group(clock)

    def broken(*_: Any, **__: Any) -> str:
        if aws.status:
            raise ZeroDivisionError
        return "create"

    monkeypatch.setattr(aws_work, "next_of_create", broken)
    with pytest.raises(ZeroDivisionError):
        await found.make()
    assert aws.status == "DELETING"


async def test_a_setup_that_cannot_hand_on_the_name_leaves_nothing(aws: Words, clock: Jumping) -> None:
    calls = Calls()
    calls.fails = lambda what: what == "push"
    end = await work(clock, calls).run()
    assert end.state == "failed"
    assert "Airflow did not take the node group's name: API_SERVER_ERROR. It is being deleted." in end.message
    assert aws.status == "DELETING"


async def test_an_airflow_that_comes_back_costs_nothing(aws: Words, clock: Jumping) -> None:
    calls = Calls()
    calls.fails = lambda what: clock.passed < 100 if what == "extras" else 300 < clock.passed < 500
    aws.active_after = 310.0
    end = await work(clock, calls, cluster_name="", region="", aws_conn_id="").run()
    assert end.state == "success"
    assert aws.status == "ACTIVE"


# -- two Airflows


@pytest.mark.parametrize(
    ("plan", "warned"), [("", True), ("airflow", True), ("airflow@example.com", False), ("prod", False)]
)
async def test_a_setup_says_that_nothing_tells_its_airflow_from_others(
    plan: str, warned: bool, aws: Words, clock: Jumping, caplog: pytest.LogCaptureFixture
) -> None:
    carried = Carried(
        parameters={}, function={"plan": replace(PLAN, deployment=plan).to_json(), "act": "make"}
    )
    log = logging.getLogger("test")
    end = await NodegroupWork(carried, KEY, Calls(), deployment="airflow", log=log, clock=clock).run()
    assert end.state == "success"
    assert ("This Airflow has no name" in caplog.text) is warned
    assert aws.group is not None
    assert aws.group["tags"]["podbay.dev/deployment"] == (plan or "airflow")


# -- ended by a user


async def made(aws: Words, clock: Jumping) -> None:
    """CREATING."""
    aws.active_after = 9999.0
    await group(clock)._create()
    assert aws.status == "CREATING"


async def test_a_setup_that_a_user_ends_is_deleted_when_aws_takes_it(
    aws: Words, clock: Jumping, caplog: pytest.LogCaptureFixture
) -> None:
    await made(aws, clock)
    holds = True
    aws.busy = lambda _: holds
    ending = asyncio.create_task(work(clock, Calls()).killed())
    while aws.asked.count("delete-nodegroup") < 3:
        await asyncio.sleep(0)
    # Airflow's patience has ended.
    ending.cancel()
    await asyncio.gather(ending, return_exceptions=True)
    assert "has not taken the node group's deletion yet" in caplog.text
    assert aws.status == "CREATING"
    holds = False
    while aws.status != "DELETING":
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("first", "then", "act"), [("deferred", "deferred", "make"), (None, "success", "make")]
)
async def test_one_that_a_new_try_has_is_left_to_it(
    first: str | None, then: str, act: str, aws: Words, clock: Jumping
) -> None:
    await made(aws, clock)
    calls = Calls()
    calls.state = first
    aws.busy = lambda _: True
    ending = asyncio.create_task(work(clock, calls, act).killed())
    while first is None and "delete-nodegroup" not in aws.asked:
        await asyncio.sleep(0)
    calls.state = then
    await ending
    aws.busy = lambda _: False
    await asyncio.sleep(0.01)
    assert aws.status == "CREATING"


async def test_a_deletion_that_cannot_be_had_says_what_is_left_to_do(
    aws: Words, clock: Jumping, caplog: pytest.LogCaptureFixture
) -> None:
    await made(aws, clock)
    aws.away = lambda _: True
    await work(clock, Calls()).killed()
    assert "could not be deleted: AWS: eks: Could not connect" in caplog.text
    assert "podbay aws nodegroups --remove" in caplog.text
