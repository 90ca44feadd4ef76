"""Looks through all causes: what proves most stands first.

The order is the argument. A request to end the pod explains all that follows it; what ended a pod from outside explains
how its containers ended; a container that ended explains more than one that waits; what the API server said about a
request explains a pod of which nothing else is known. Within a family its own file decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from podbay.lifecycle.diagnosis.admission import find_refusals
from podbay.lifecycle.diagnosis.cluster import find_cluster_trouble
from podbay.lifecycle.diagnosis.configuration import find_configuration
from podbay.lifecycle.diagnosis.deadlines import find_slowness, with_deadline
from podbay.lifecycle.diagnosis.disruptions import find_disruptions, find_node_trouble
from podbay.lifecycle.diagnosis.endings import find_beside, find_deletion, find_endings
from podbay.lifecycle.diagnosis.exits import UNKNOWN_KILLER
from podbay.lifecycle.diagnosis.images import find_images
from podbay.lifecycle.diagnosis.leftovers import find_leftovers
from podbay.lifecycle.diagnosis.model import Diagnosis, Facts
from podbay.lifecycle.diagnosis.reading import as_map
from podbay.lifecycle.diagnosis.results import find_result_trouble
from podbay.lifecycle.diagnosis.scheduling import find_scheduling
from podbay.lifecycle.diagnosis.sight import Sight, look
from podbay.lifecycle.diagnosis.starting import find_starting
from podbay.lifecycle.diagnosis.volumes import find_volumes
from podbay.lifecycle.diagnosis.words import cleaner, env_values, polish

__all__ = ["diagnose", "diagnoses"]

_FINDERS: Final[tuple[Callable[[Sight], Iterator[Diagnosis]], ...]] = (
    find_disruptions,
    find_deletion,
    find_result_trouble,
    find_endings,
    find_images,
    find_configuration,
    find_starting,
    find_volumes,
    find_scheduling,
    find_refusals,
    find_cluster_trouble,
    find_node_trouble,
    find_beside,
    find_slowness,
)
_STOPPERS: Final = (find_disruptions, find_deletion)


def diagnose(facts: Facts) -> Diagnosis | None:
    """The most decisive cause; None when nothing is wrong, as far as can be seen."""
    return next(iter(diagnoses(facts)), None)


def diagnoses(facts: Facts) -> list[Diagnosis]:
    """All causes, the most decisive first. Never raises, whatever the pod holds; never shows an env value."""
    sight = look(facts)
    found: dict[tuple[str, str | None], Diagnosis] = {}
    stopped = False
    for finder in _FINDERS:
        for each in finder(sight):
            # Who killed the container is known by now; that its exit code does not tell is no news.
            if stopped and each.category in UNKNOWN_KILLER:
                continue
            found.setdefault((each.category, each.container), each)
        stopped = stopped or (finder in _STOPPERS and bool(found))
    told = list(found.values()) or list(find_leftovers(sight))
    clean = cleaner(env_values(as_map(facts.pod)))
    return [polish(each, clean) for each in with_deadline(sight, told)]
