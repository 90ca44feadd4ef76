"""Names in the AWS of these tests."""

from __future__ import annotations

__all__ = ["CLUSTER", "REGION", "ROLE"]

REGION = "eu-west-3"
"""One of its own: all of moto's servers in a process share what there is."""
CLUSTER = "node-group-cluster"
ROLE = "arn:aws:iam::123456789012:role/nodes"
