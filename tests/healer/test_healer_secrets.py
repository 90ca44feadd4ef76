"""Secrets that Podbay has made: golden cases of the two checks, and what the healer does about them on a cluster."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from healer_scene import Scene, opened_scene
from healer_worlds import NOW, RULES, answer, identity, pod, stamp, world

from podbay.embedded.cluster import ClusterOptions
from podbay.embedded.nodes import one_scripted_node
from podbay.errors import ApiError
from podbay.healer.acting import Actor
from podbay.healer.decide import Decision, decide
from podbay.healer.events import history
from podbay.healer.manifests import healer_objects
from podbay.healer.rules import Rules
from podbay.objects.meta import Object, name_of, uid_of
from podbay.objects.resource import GVR
from podbay.testing import Environment

SECRETS = GVR("", "v1", "secrets")
POD = pod(uid="p-1")


def lent(*, owner: str | None = "p-1", age: float = 700, **metadata: Any) -> Object:
    """As the operator lends a connection to a pod."""
    references = [{"apiVersion": "v1", "kind": "Pod", "name": "load-x", "uid": owner}] if owner else []
    return {
        "metadata": {
            "name": f"lent-{identity().digest()}",
            "namespace": "team",
            "uid": "s-1",
            "resourceVersion": "3",
            "labels": {"podbay.dev/deployment": "prod"},
            "ownerReferences": references,
            "creationTimestamp": stamp(age),
            **metadata,
        }
    }


def login(*, left: float, lived: float | None = None, **metadata: Any) -> Object:
    """As `podbay registry` keeps a login; seconds until its end and since its beginning."""
    notes = {"podbay.dev/registry-expires": (NOW + timedelta(seconds=left)).isoformat()}
    if lived is not None:
        notes["podbay.dev/registry-renewed"] = (NOW - timedelta(seconds=lived)).isoformat()
    labels = {"podbay.dev/registry": "true"}
    return {
        "metadata": {
            "name": "registry-ecr",
            "namespace": "team",
            "uid": "s-2",
            "labels": labels,
            "annotations": notes,
            **metadata,
        }
    }


def found(*secrets: Object, pods: tuple[Object, ...] = (), rules: Rules = RULES) -> Decision:
    return decide(world(*pods, airflow=answer(), secrets=secrets), rules)


def test_a_secret_whose_pod_is_gone_goes() -> None:
    [action] = found(lent()).actions
    assert (action.kind, action.deed, action.check, action.uid) == (
        "Secret",
        "delete",
        "LeftoverSecret",
        "s-1",
    )
    assert (action.version, action.must_be_gone) == ("3", ("load-x", "p-1"))
    assert "load-x" in action.message


def test_a_secret_stays_as_long_as_its_pod_or_until_it_is_old_enough() -> None:
    assert found(lent(), pods=(POD,)).actions == ()
    [(action, left)] = found(lent(age=500)).waiting
    assert (action.check, left) == ("LeftoverSecret", 100)


@pytest.mark.parametrize(
    "secret",
    [
        lent(name="env-secrets"),
        lent(labels={"podbay.dev/deployment": "other"}),
        lent(labels={}),
        lent(deletionTimestamp=stamp(1)),
    ],
    ids=["not lent", "another deployment's", "nobody's", "is going"],
)
def test_other_secrets_are_left_alone(secret: Object) -> None:
    assert found(secret).actions == ()


def test_a_secret_that_does_not_say_whose_it_is_is_told() -> None:
    [action] = found(lent(owner=None)).actions
    assert (action.deed, action.check) == ("report", "LeftoverSecret")


def test_the_default_name_proves_nothing_of_a_secret_either() -> None:
    secret = lent(labels={"podbay.dev/deployment": "airflow"})
    [action] = found(secret, rules=Rules(deployment="airflow")).actions
    assert action.deed == "report"


@pytest.mark.parametrize(
    ("secret", "words"),
    [
        (login(left=2 * 3600, lived=10 * 3600), "ends in 120 min"),
        (login(left=-90, lived=43200), "ended 2 min ago"),
        (login(left=3000), "ends in 50 min"),
    ],
    ids=["less than a quarter left", "over", "the last hour of who knows how many"],
)
def test_a_login_near_its_end_is_told(secret: Object, words: str) -> None:
    [action] = found(secret).actions
    assert (action.kind, action.deed, action.check) == ("Secret", "report", "PullSecretEnding")
    assert words in action.message
    assert "podbay registry refresh registry-ecr" in action.message


@pytest.mark.parametrize(
    "secret",
    [
        login(left=4 * 3600, lived=8 * 3600),
        login(left=900, lived=2700 - 900 - 1),
        login(left=3700),
        login(left=60, annotations={}),
        login(left=60, annotations={"podbay.dev/registry-expires": "soon"}),
        login(left=60, labels={"podbay.dev/registry": "true", "podbay.dev/deployment": "other"}),
        login(left=60, labels={}),
    ],
    ids=[
        "a third left",
        "of an hour",
        "more than an hour",
        "no end",
        "no time",
        "another's",
        "not kept by us",
    ],
)
def test_other_logins_are_not(secret: Object) -> None:
    assert found(secret).actions == ()


def test_nothing_is_done_about_secrets_of_a_cluster_whose_pods_are_not_known() -> None:
    assert decide(world(airflow=answer(), secrets=(lent(),), trouble="410"), RULES).actions == ()


# -- on a cluster


@pytest.fixture(scope="module")
def environment() -> Iterator[Environment]:
    with Environment.start(ClusterOptions(nodes=one_scripted_node())) as started:
        yield started


@pytest_asyncio.fixture
async def scene(environment: Environment) -> AsyncIterator[Scene]:
    async with opened_scene(environment) as opened:
        yield opened


IMPATIENT = Rules(deployment="prod", leftover=0)


async def put(scene: Scene, secret: Object) -> Object:
    metadata = {
        key: secret["metadata"][key] for key in ("name", "labels", "annotations") if key in secret["metadata"]
    }
    data = {"AIRFLOW_CONN_DB": base64.b64encode(b"hidden-value").decode()}
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data}
    body["metadata"]["ownerReferences"] = secret["metadata"].get("ownerReferences") or []
    return await scene.client.create(SECRETS, body, namespace=scene.namespace)


async def is_gone(scene: Scene, name: str) -> bool:
    try:
        await scene.client.get(SECRETS, name, namespace=scene.namespace)
    except ApiError as error:
        return error.code == 404
    return False


async def test_a_leftover_secret_is_deleted_and_the_history_says_why(scene: Scene) -> None:
    living = await scene.pod("living")
    scene.airflow.put("d", "r:1+", "living", "running")
    # The cluster's own garbage collector must not be faster: it leaves owners alone that it cannot look at.
    of_living = lent()
    of_living["metadata"]["name"] = "lent-living"
    reference = {"apiVersion": "v1", "kind": "Pod", "name": name_of(living), "uid": uid_of(living)}
    of_living["metadata"]["ownerReferences"] = [reference]
    await put(scene, of_living)
    gone = lent()
    gone["metadata"]["ownerReferences"] = [
        {**reference, "apiVersion": "example.com/v1", "name": "gone", "uid": "no-such-uid"}
    ]
    name = name_of(await put(scene, gone))
    done = (await scene.heal(IMPATIENT, sites=[scene.site()])).done
    assert [(each.action.name, each.action.check, each.result) for each in done] == [
        (name, "LeftoverSecret", "done")
    ]
    assert await is_gone(scene, name)
    assert not await is_gone(scene, "lent-living")
    [event] = await history(scene.client, scene.namespace, "prod")
    assert (event["involvedObject"]["kind"], event["involvedObject"]["name"]) == ("Secret", name)
    assert "hidden-value" not in str(event)


async def test_a_secret_whose_pod_is_there_after_all_stays(scene: Scene) -> None:
    """The watch may not have told of the pod; right before the deletion the cluster is asked."""
    living = await scene.pod("living")
    secret = lent()
    reference = {"apiVersion": "v1", "kind": "Pod", "name": name_of(living), "uid": uid_of(living)}
    secret["metadata"]["ownerReferences"] = [reference]
    made = await put(scene, secret)
    seen = world(airflow=answer(), secrets=({"metadata": made["metadata"]},))
    [action] = decide(seen, Rules(deployment="prod", leftover=0)).actions
    done = await Actor(scene.client, await scene.api(), "prod").take(action, NOW)
    assert (done.result, done.text) == ("dropped", f"pod {name_of(living)} is there")
    assert not await is_gone(scene, name_of(made))


async def test_a_login_near_its_end_is_in_the_history(scene: Scene) -> None:
    secret = login(left=0)
    secret["metadata"]["annotations"] = {"podbay.dev/registry-expires": "2026-01-01T00:00:00+00:00"}
    await put(scene, secret)
    [done] = (await scene.heal(IMPATIENT, sites=[scene.site()])).done
    assert (done.action.check, done.result) == ("PullSecretEnding", "done")
    [event] = await history(scene.client, scene.namespace, "prod")
    assert event["action"] == "Report"


def test_only_who_asks_for_it_may_list_secrets() -> None:
    given: dict[str, Any] = {
        "deployment": "d",
        "namespace": "n",
        "image": "i",
        "airflow_url": "u",
        "login": "l",
    }
    rules = [healer_objects(**given, with_secrets=wanted)[1]["rules"] for wanted in (False, True)]
    assert not [rule for rule in rules[0] if "secrets" in rule["resources"]]
    assert [rule["verbs"] for rule in rules[1] if "secrets" in rule["resources"]] == [["list", "delete"]]
