"""The scheduler: which node a pod goes to, or why none takes it, in kube-scheduler's own words.

`filters`, `scoring`, `preemption`, `messages` and `requests` decide and do no I/O; `cache` and `queue` remember;
`scheduler` talks to the API.
"""

from __future__ import annotations

from podbay.aio.clock import Clock
from podbay.aio.informer import InformerSet
from podbay.aio.tasks import Service, TaskGroup
from podbay.embedded.scheduler.scheduler import Scheduler, SchedulerOptions
from podbay.objects.api import ClusterApi

__all__ = ["Scheduler", "SchedulerOptions", "start_scheduler"]


def start_scheduler(
    api: ClusterApi,
    group: TaskGroup,
    clock: Clock,
    *,
    options: SchedulerOptions | None = None,
    informers: InformerSet | None = None,
) -> Service:
    """Start a scheduler that ends with the group; the service's `ready` says that its first lists are in."""
    scheduler = Scheduler(api, informers or InformerSet(api, group, clock), clock, options)
    service = Service("scheduler")
    return group.start("scheduler", scheduler.run(service), service=service)
