"""Podbay: Apache Airflow tasks in Kubernetes pods, on a laptop with no cluster or on any cluster at scale.

Importing this package must stay cheap: it is what a DAG file imports. Heavy parts load on first use; editors and type
checkers see them in `__init__.pyi`.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0.dev0"

_LAZY = {"KubernetesPodOperator": "podbay.airflow.operators"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        try:
            return getattr(importlib.import_module(_LAZY[name]), name)
        except ImportError as error:
            from podbay.extras import pip_install

            raise ImportError(
                f"podbay.{name} needs Apache Airflow 3.3 or newer: {pip_install('airflow')} ({error})"
            ) from error
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
