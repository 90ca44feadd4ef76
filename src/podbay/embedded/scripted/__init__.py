"""Scripted nodes: nodes whose pods live by a script instead of containers, for tests and for scale.

    host = ScriptedNodes([ScriptedNode(name="n1", capacity={"pods": "500"})], Script.from_data(rules))

`script` says what pods do, `life` plays it, `status` reports it as a kubelet would, `host` talks to the API.
"""

from __future__ import annotations

from podbay.embedded.scripted.host import ScriptedNodes
from podbay.embedded.scripted.nodes import Failure, NodesFile, ScriptedNode, load_nodes_file, read_nodes
from podbay.embedded.scripted.script import DEFAULT_SCRIPT, Attempt, LogLine, Match, Rule, Script, Wait

__all__ = [
    "DEFAULT_SCRIPT",
    "Attempt",
    "Failure",
    "LogLine",
    "Match",
    "NodesFile",
    "Rule",
    "Script",
    "ScriptedNode",
    "ScriptedNodes",
    "Wait",
    "load_nodes_file",
    "read_nodes",
]
