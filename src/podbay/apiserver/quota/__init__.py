"""Measuring objects against ResourceQuotas: what one uses, which quotas apply to it, what a namespace uses.

Pure; shared by the ResourceQuota admission plugin and the controller that recounts. Not for refusing requests.
"""

from podbay.apiserver.quota.evaluators import (
    calculate,
    charges_on,
    constraint_violation,
    matching_resources,
    usage_of,
)
from podbay.apiserver.quota.lists import ResourceList, parse_list, print_list
from podbay.apiserver.quota.scopes import matches_scopes

__all__ = [
    "ResourceList",
    "calculate",
    "charges_on",
    "constraint_violation",
    "matches_scopes",
    "matching_resources",
    "parse_list",
    "print_list",
    "usage_of",
]
