"""Podbay: Apache Airflow tasks in Kubernetes pods, on a laptop with no cluster or on any cluster at scale.

Importing this package must stay cheap: it is what a DAG file imports. Heavy parts load on first use.
"""

__version__ = "0.1.0.dev0"
