"""Airflow's policy hook, at each reading of a DAG file: settles our tasks, lets mapped ones start in the triggerer, and
hands upstream's operators to this engine if the deployment says so; and at each pod that upstream makes, the deployment's
rules. Registered by an entry point (`airflow.policy`).

It must never break a DAG that has nothing to do with Podbay: it looks at classes by name and imports late.
"""

from __future__ import annotations

from typing import Any

from airflow.policies import hookimpl

__all__ = ["pod_mutation_hook", "task_policy"]


@hookimpl  # type: ignore[untyped-decorator]
def task_policy(task: Any) -> None:
    """For every task of every DAG. Raises InvalidInputError for parameters of our tasks that cannot be right."""
    operator_class = task.operator_class if task.is_mapped else type(task)
    if _is_upstream(operator_class):
        from podbay.airflow.adoption import adopt

        adopt(task)
        operator_class = task.operator_class if task.is_mapped else type(task)
    if not hasattr(operator_class, "podbay_start"):
        return
    if task.is_mapped:
        from podbay.airflow.mapping import start_mapped

        start_mapped(task)
    else:
        task.podbay_settle()


@hookimpl  # type: ignore[untyped-decorator]
def pod_mutation_hook(pod: Any) -> None:
    """For pods of upstream's operator (a V1Pod, changed in place): the deployment's rules. Raises InvalidInputError."""
    from podbay.airflow.enforcing import enforcement

    enforce = enforcement()
    if enforce is None:
        return
    from podbay.airflow.models import manifest_of, model_of

    enforced = model_of(enforce(manifest_of(pod)))
    pod.metadata, pod.spec = enforced.metadata, enforced.spec


def _is_upstream(operator_class: type) -> bool:
    return (
        operator_class.__name__ == "KubernetesPodOperator"
        and operator_class.__module__ == "airflow.providers.cncf.kubernetes.operators.pod"
        and not hasattr(operator_class, "podbay_start")
    )
