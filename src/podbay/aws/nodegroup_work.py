"""Makes and deletes node groups: asks AWS, waits, asks again, until it is done or the time is up.

Whoever waits blocks nothing: the calls run in threads, and between them is a sleep. Everything can be begun again at any
point, because each round looks first at what there is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

from podbay.aio.clock import Clock, SystemClock
from podbay.aws.eks import Identity, identity_of
from podbay.aws.nodegroup import (
    NodegroupOwner,
    NodegroupPlan,
    Observed,
    create_parameters,
    health_of,
    next_of_create,
    next_of_delete,
    nodegroup_name,
    tags_of,
)
from podbay.aws.place import AwsLogin, EksPlace
from podbay.errors import CredentialError, InvalidInputError, NodegroupError, PodbayError, RegistryError
from podbay.registries.amazon.session import Aws, AwsCall

__all__ = ["Nodegroup", "Say"]

Say = Callable[[str], None]
PATIENCE: Final = 5
"""Answers that do not come, one after the other, before a node group that is being made is given up."""
IDENTITY_SECONDS: Final = 600.0
"""Less than any role's session."""
AGAIN_SECONDS: Final = 60.0
"""After which an identity that could not be renewed is asked for again."""
UNTOLD_SECONDS: Final = 300.0
"""As long as a deletion is asked for while AWS has told nothing at all: an earlier triggerer may have made it."""
_BUSY: Final = (
    "(ResourceInUseException)",
    "(ServerException)",
    "(ServiceUnavailableException)",
    "(ThrottlingException)",
)


@dataclass
class Nodegroup:
    """One node group of one run, at one place."""

    plan: NodegroupPlan
    owner: NodegroupOwner
    place: EksPlace
    identity: Identity | None = None
    say: Say = lambda _: None
    clock: Clock = field(default_factory=SystemClock)
    _said: str = ""
    _creating: asyncio.Future[None] | None = None
    _known: Aws | None = None
    _known_until: float = 0.0
    _stands: bool | None = None
    """Whether AWS has it, as far as is known: None before its first answer, True once it was asked for."""

    @property
    def name(self) -> str:
        return nodegroup_name(self.owner)

    def __str__(self) -> str:
        return f"node group {self.name} of {self.place}"

    # -- to be there

    async def make(self) -> str:
        """Wait until it is ACTIVE; its name. Whatever it raises, its deletion has been asked for."""
        try:
            await self._make()
        except PodbayError as error:
            seconds = _worth_asking(self._stands, error, self.plan.delete_seconds)
            raise NodegroupError(f"{error} {await self.clear_up(seconds)}".rstrip()) from error
        except Exception:
            # Nobody has thought of it, and it costs as much: its own report comes from whoever called.
            self.say((await self.clear_up(self.plan.delete_seconds)) or f"There is no {self}.")
            raise
        return self.name

    async def _make(self) -> None:
        began, made, silent = self.clock.monotonic(), False, 0
        tags, age = tags_of(self.owner), 0.0
        while True:
            try:
                seen = await self._look()
                step = next_of_create(seen, tags, made=made)
                self._tell(seen.status or "not there")
                if seen.status == "CREATING" and seen.created_at is not None:
                    # A triggerer that goes on where another one was lost gives it no more time.
                    age = (self.clock.now() - seen.created_at).total_seconds()
                if step == "done":
                    return
                if step == "create":
                    # Whoever is cancelled meanwhile has asked for it all the same: ask_to_delete waits for the answer.
                    self._creating = asyncio.ensure_future(self._create())
                    await asyncio.shield(self._creating)
                    made = True
                elif step == "delete":
                    await self._delete()
                elif step != "wait":
                    raise NodegroupError(self._trouble(step, seen))
                silent = 0
            except (CredentialError, RegistryError) as error:
                silent += 1
                if silent >= PATIENCE or not _may_pass(error):
                    raise
                self.say(f"AWS: {error}; asked again")
            if max(age, self.clock.monotonic() - began) >= self.plan.create_seconds:
                raise NodegroupError(
                    f"{self} was not ACTIVE within {self.plan.create_seconds:g} s (create_timeout)."
                )
            await self.clock.sleep(self.plan.poll_seconds)

    def _trouble(self, step: str, seen: Observed) -> str:
        if step == "foreign":
            return f"{self} exists already and has other tags: it is not this run's and stays as it is."
        if not seen.status:
            return f"{self} was deleted by somebody before it was ACTIVE."
        return f"{self} cannot be made: {seen.status}: {seen.health or 'AWS does not say why'}."

    async def clear_up(self, seconds: float) -> str:
        """Nothing that has failed may go on costing money, and no teardown follows a setup that failed: what was done."""
        try:
            return "It is being deleted." if await self.delete_soon(seconds) else ""
        except PodbayError as error:
            return f"It could not be deleted: {error}. Remove it: podbay aws nodegroups --remove"

    # -- to be gone

    async def unmake(self) -> None:
        """Wait until it is not there. Raises NodegroupError when the time is up."""
        began, tags = self.clock.monotonic(), tags_of(self.owner)
        trouble = ""
        while True:
            try:
                seen = await self._look()
                self._tell(seen.status or "gone")
                step = next_of_delete(seen, tags)
                if step == "done":
                    return
                if step == "foreign":
                    raise NodegroupError(self._trouble("foreign", seen))
                trouble = seen.health or seen.status
                if step == "delete":
                    await self._delete()
            except (CredentialError, RegistryError) as error:
                # It costs money as long as it stands: worth asking until the time is up.
                trouble = str(error)
                self.say(f"AWS: {error}; asked again")
            if self.clock.monotonic() - began >= self.plan.delete_seconds:
                raise NodegroupError(
                    f"{self} was not gone within {self.plan.delete_seconds:g} s (delete_timeout): {trouble}. It may go on "
                    "costing money: podbay aws nodegroups --remove"
                )
            await self.clock.sleep(self.plan.poll_seconds)

    async def delete_soon(self, seconds: float, unless: Callable[[], Awaitable[bool]] | None = None) -> bool:
        """Ask until AWS takes it, and do not wait for its end; False when there is nothing of ours, or `unless` says so.

        AWS may be away for a moment, and may refuse while the node group is CREATING. Raises PodbayError: its last answer.
        """
        began, pause = self.clock.monotonic(), min(self.plan.poll_seconds, seconds / 10)
        while True:
            try:
                return await self.ask_to_delete()
            except (CredentialError, RegistryError) as error:
                if self.clock.monotonic() - began + pause >= seconds:
                    raise
                self.say(f"AWS: {error}; its deletion is asked for again")
            await self.clock.sleep(pause)
            if unless is not None and await unless():
                return False

    async def ask_to_delete(self) -> bool:
        """Ask once and do not wait; False when there is nothing of ours. Raises PodbayError."""
        if self._creating is not None:
            await asyncio.gather(self._creating, return_exceptions=True)
        seen = await self._look()
        if next_of_delete(seen, tags_of(self.owner)) != "delete":
            return False
        await self._delete()
        return True

    # -- AWS

    async def _aws(self) -> Aws:
        if self._known is None or self.clock.monotonic() >= self._known_until:
            await self._renew()
        assert self._known is not None
        return self._known

    async def _renew(self) -> None:
        try:
            login = await self.identity() if self.identity is not None else AwsLogin()
            self._known = await identity_of(self.place, login)
            self._known_until = self.clock.monotonic() + IDENTITY_SECONDS
        except Exception as error:
            # Whoever is asked for it may be away for a moment: Airflow, whose errors are its own, or AWS.
            said = str(error) or type(error).__name__
            if self._known is None:
                if isinstance(error, PodbayError):
                    raise
                raise CredentialError(
                    f"{self.place}: no identity to ask with could be had: {said}"
                ) from error
            self._known_until = self.clock.monotonic() + AGAIN_SECONDS
            self.say(f"{self.place} is asked with the identity that is known: {said}")

    def _call(self, operation: str, **parameters: Any) -> AwsCall:
        return AwsCall("eks", operation, parameters, self.place.region)

    async def _look(self) -> Observed:
        call = self._call("describe-nodegroup", clusterName=self.place.cluster_name, nodegroupName=self.name)
        try:
            found = (await (await self._aws()).do(call))["nodegroup"]
        except KeyError:
            self._stands = False
            return Observed(status="")
        self._stands = True
        return Observed(
            status=str(found["status"]),
            tags=found.get("tags") or {},
            health=health_of(found),
            created_at=found.get("createdAt"),
        )

    async def _create(self) -> None:
        aws = await self._aws()
        subnets = self.plan.subnets or await self._subnets(aws)
        parameters = create_parameters(self.plan, self.owner, self.place.cluster_name, subnets)
        # An answer that is lost leaves open whether AWS makes it.
        self._stands = True
        try:
            await aws.do(AwsCall("eks", "create-nodegroup", parameters, self.place.region))
        except KeyError:
            raise InvalidInputError(f"there is no {self.place}. Check name, region and account.") from None
        self.say(
            f"{self} was asked for: {self.plan.nodes} x {', '.join(self.plan.instance_types) or 'AWS default'}"
        )

    async def _subnets(self, aws: Aws) -> list[str]:
        try:
            found = (await aws.do(self._call("describe-cluster", name=self.place.cluster_name)))["cluster"]
        except KeyError:
            raise InvalidInputError(f"there is no {self.place}. Check name, region and account.") from None
        return list((found.get("resourcesVpcConfig") or {}).get("subnetIds") or ())

    async def _delete(self) -> None:
        call = self._call("delete-nodegroup", clusterName=self.place.cluster_name, nodegroupName=self.name)
        try:
            await (await self._aws()).do(call)
        except KeyError:
            return
        self.say(f"{self} is to be deleted")

    def _tell(self, status: str) -> None:
        if status != self._said:
            self._said = status
            self.say(f"{self}: {status}")


def _may_pass(error: PodbayError) -> bool:
    """Of the network, or because something else of the cluster is under way."""
    return isinstance(error, CredentialError) or any(each in str(error) for each in _BUSY)


def _worth_asking(stands: bool | None, error: PodbayError, seconds: float) -> float:
    """How long the deletion of one that could not be made is asked for; 0 is once. Pure."""
    if stands is None:
        return min(UNTOLD_SECONDS, seconds) if _may_pass(error) else 0.0
    return seconds if stands else 0.0
