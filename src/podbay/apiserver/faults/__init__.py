"""Faults on purpose: refusals, delays, cut streams and partitions of the API, so that retry paths can be tested.

`rules` is the declared form and decides; `gate` is asked by the HTTP server; `api` is how a client declares faults
(docs/faults.md). Callers in the same process are never hit: a cluster's own controllers do not fail on purpose.
"""

from podbay.apiserver.faults.gate import FaultGate
from podbay.apiserver.faults.rules import Fault, Match, read_fault

__all__ = ["Fault", "FaultGate", "Match", "read_fault"]
