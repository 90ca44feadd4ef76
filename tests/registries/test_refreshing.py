"""Renewal of many logins: one that is damaged or gone takes nothing from the others, and none ends between two looks."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from podbay.aio.virtual import VirtualClock
from podbay.errors import ApiError
from podbay.kube.config import SecretText
from podbay.objects.api import ObjectList
from podbay.objects.meta import Object
from podbay.objects.resource import GVR
from podbay.registries.logins import KeyedLogin, Login
from podbay.registries.minting import Minted
from podbay.registries.pull_secrets import PullSecret, read_pull_secret
from podbay.registries.refresh import Refreshed, due, keep_fresh, pause, refresh

GOOGLE = "europe-docker.pkg.dev"
NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOST = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"


class Secrets:
    """What a cluster has of one namespace."""

    def __init__(self, *secrets: Object) -> None:
        self.there: dict[str, Object] = {each["metadata"]["name"]: each for each in secrets}
        self.refused: dict[str, ApiError] = {}

    async def get(self, resource: GVR, name: str, **_: object) -> Object:
        if name in self.refused:
            raise self.refused[name]
        if name not in self.there:
            raise ApiError(404, "NotFound", f'secrets "{name}" not found')
        return self.there[name]

    async def list(self, resource: GVR, **_: object) -> ObjectList:
        return ObjectList(items=list(self.there.values()), resource_version="1")

    async def patch(self, resource: GVR, name: str, patch: Mapping[str, Any], **_: object) -> Object:
        secret = self.there[name]
        secret["metadata"]["annotations"] |= patch["metadata"]["annotations"]
        secret["data"] |= patch["data"]
        return secret

    async def create(self, *_: object, **__: object) -> Object:
        raise AssertionError("nothing is to be made here")

    async def delete(self, *_: object, **__: object) -> Object:
        raise AssertionError("nothing is to be deleted here")


def secret(
    name: str, renewed: datetime | str, expires: datetime | str, *, source: str = "ecr", host: str = HOST
) -> Object:
    auth = base64.b64encode(b"AWS:old").decode()
    return {
        "type": "kubernetes.io/dockerconfigjson",
        "metadata": {
            "name": name,
            "resourceVersion": "1",
            "labels": {"podbay.dev/registry": "true"},
            "annotations": {
                "podbay.dev/registry-source": source,
                "podbay.dev/registry-renewed": str(renewed),
                "podbay.dev/registry-expires": str(expires),
            },
        },
        "data": {".dockerconfigjson": encoded({"auths": {host: {"auth": auth}}})},
    }


def encoded(document: object) -> str:
    return base64.b64encode(json.dumps(document).encode()).decode()


def half_over(name: str, clock: VirtualClock) -> Object:
    return secret(name, clock.now() - timedelta(hours=7), clock.now() + timedelta(hours=5))


async def believed(_: KeyedLogin) -> None:
    return


async def look(secrets: Secrets, clock: VirtualClock, *names: str) -> list[Refreshed]:
    async def mint(source: str, registry: str) -> Minted:
        return Minted(Login("AWS", SecretText("new")), clock.now() + timedelta(hours=12))

    return await refresh(secrets, "ns", names, mint=mint, prove=believed, clock=clock)


async def test_a_secret_that_was_removed_takes_nothing_from_the_others() -> None:
    clock = VirtualClock()
    secrets = Secrets(half_over("a", clock), half_over("d", clock))
    secrets.there["b"] = {"type": "Opaque", "metadata": {"name": "b"}}
    secrets.refused["c"] = ApiError(403, "Forbidden", "c is not for you")
    found = {each.name: each for each in await look(secrets, clock, "gone", "a", "b", "c", "d")}
    assert {name: each.state for name, each in found.items()} == {
        "gone": "failed",
        "a": "renewed",
        "b": "failed",
        "c": "failed",
        "d": "renewed",
    }
    assert found["gone"].message.startswith("namespace ns has no Secret gone; make it with podbay registry")
    assert "of type Opaque" in found["b"].message
    assert found["c"].message == "Secret c cannot be read: c is not for you"


async def test_without_names_a_damaged_secret_takes_nothing_from_the_others() -> None:
    clock = VirtualClock()
    secrets = Secrets(half_over("a", clock), half_over("b", clock), half_over("c", clock))
    secrets.there["b"]["data"][".dockerconfigjson"] = encoded({"auths": {"x.y": {"auth": "eHh4"}}})
    damaged = await look(secrets, clock)
    assert [(each.name, each.state) for each in damaged] == [
        ("a", "renewed"),
        ("b", "failed"),
        ("c", "renewed"),
    ]
    assert damaged[1].message == "Secret b: auths.x.y.auth: not base64 of user:password"


async def test_who_has_no_login_at_the_cluster_is_told_once() -> None:
    clock = VirtualClock()
    secrets = Secrets()
    secrets.refused["a"] = ApiError(401, "Unauthorized", "who are you?")
    with pytest.raises(ApiError, match="who are you"):
        await look(secrets, clock, "a", "b")


@pytest.mark.parametrize("moment", ["2026-01-01T00:00:00", "2026-01-01", "tomorrow"])
async def test_a_time_without_a_zone_is_not_known(moment: str) -> None:
    clock = VirtualClock()
    ends = (clock.now() + timedelta(hours=12)).astimezone(UTC)
    secrets = Secrets(
        secret("a", clock.now(), moment), secret("b", moment, ends), secret("c", moment, moment)
    )
    found = await look(secrets, clock)
    # `a` may live for half an hour, `b` ends in twelve, of `c` nothing is known.
    assert [(each.name, each.state) for each in found] == [
        ("a", "fresh"),
        ("b", "fresh"),
        ("c", "renewed"),
    ]


def test_in_its_last_minutes_a_login_is_due_however_young_it_is() -> None:
    """Half of what is left would be halved for ever, and the end comes between two looks."""

    def when(renewed: datetime, expires: datetime) -> datetime | None:
        return due(PullSecret(name="a", logins=(), source="google", renewed=renewed, expires=expires))

    ends = NOW + 60 * MINUTE
    assert when(NOW, ends) == NOW + 30 * MINUTE
    assert when(ends - 8 * MINUTE, ends) == ends - 5 * MINUTE
    assert when(ends - 3 * MINUTE, ends) == ends - 5 * MINUTE


def test_how_long_to_wait_for_the_next_look() -> None:
    def ending(minutes: float, state: str = "fresh") -> Refreshed:
        return Refreshed("a", state, NOW + minutes * MINUTE)  # type: ignore[arg-type]

    assert pause([], 600, NOW) == 600
    assert pause([Refreshed("a", "renewed")], 600, NOW) == 600
    assert pause([ending(60), ending(300)], 600, NOW) == 600
    assert pause([ending(60), ending(9, "renewed")], 600, NOW) == 300
    assert pause([ending(9)], 30, NOW) == 30
    # The end is near or just over: every minute, until it is clear that this does not help.
    assert [pause([ending(left, "failed")], 600, NOW) for left in (4, 1, -1, -5)] == [60, 60, 60, 600]
    # What nobody here can renew is waited for by nobody.
    assert pause([ending(1, "fixed")], 600, NOW) == 600
    assert pause([ending(60)], -5, NOW) == 1


class MetadataServer:
    """Gives the token that it has until that has five minutes left."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock, self.asked = clock, 0
        self._ends = clock.now() + 60 * MINUTE

    async def mint(self, source: str, registry: str) -> Minted:
        assert (source, registry) == ("google", GOOGLE)
        self.asked += 1
        if self._ends - self._clock.now() <= 5 * MINUTE:
            self._ends = self._clock.now() + 60 * MINUTE
        return Minted(Login("oauth2accesstoken", SecretText(str(self._ends))), self._ends)


class Looks:
    """Looks at one Secret whose tokens are a metadata server's."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.server = MetadataServer(self.clock)
        now = self.clock.now()
        self.secrets = Secrets(secret("a", now, now + 60 * MINUTE, source="google", host=GOOGLE))

    async def once(self) -> list[Refreshed]:
        mint = self.server.mint
        return await refresh(self.secrets, "ns", [], mint=mint, prove=believed, clock=self.clock)

    async def has_ended(self) -> bool:
        found = await read_pull_secret(self.secrets, "ns", "a")
        assert found is not None
        assert found.expires is not None
        return found.expires <= self.clock.now()


async def test_a_process_renews_what_a_metadata_server_gives_late() -> None:
    looks = Looks()

    def ignored(_: Refreshed) -> None:
        return

    loop = asyncio.ensure_future(keep_fresh(looks.once, every=600, clock=looks.clock, told=ignored))
    ended = []
    for minute in range(600):
        ended += [minute] if await looks.has_ended() else []
        await looks.clock.advance(60)
    loop.cancel()
    assert ended == []
    assert looks.server.asked < 60


@pytest.mark.parametrize("offset", [0, 1, 2, 3])
async def test_a_cronjob_renews_what_a_metadata_server_gives_late(offset: int) -> None:
    looks, ended = Looks(), []
    for minute in range(600):
        if minute % 4 == offset:
            await looks.once()
        ended += [minute] if await looks.has_ended() else []
        await looks.clock.advance(60)
    assert ended == []


async def test_the_end_of_a_login_is_remembered_while_the_cluster_is_away() -> None:
    clock, seen = VirtualClock(), []

    async def once() -> list[Refreshed]:
        seen.append(clock.monotonic())
        if len(seen) == 2:
            raise ApiError(503, "ServiceUnavailable", "later")
        return [Refreshed("a", "fresh", clock.now() + 17 * MINUTE)]

    loop = asyncio.ensure_future(keep_fresh(once, every=600, clock=clock, told=lambda _: None))
    for _ in range(13 * 60 + 1):
        await clock.advance(1)
    loop.cancel()
    assert [each - seen[0] for each in seen] == [0, 600, 780]
