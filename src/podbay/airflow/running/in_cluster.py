"""`in_cluster=True` in upstream's hooks, in a private Airflow: the cluster of the run.

Where DAGs are written for, Airflow's processes are pods of the cluster that is meant and have a service account. Here they
are in no pod, so hooks that ask for it get the run's own kubeconfig. Podbay's operator does the same by itself
(podbay.airflow.connection).
"""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any, Final

from podbay.airflow.connection import OLD_PREFIX, RUN_KUBECONFIG
from podbay.airflow.running.airflows_parts import changes_airflow

__all__ = ["lead_hooks_to_the_run"]

HOOKS: Final = "airflow.providers.cncf.kubernetes.hooks.kubernetes"
_LEFT_OUT: Final = ("in_cluster", "kube_config_path", "cluster_context")
"""A service account knows no contexts; upstream does not look at them either."""


def lead_hooks_to_the_run() -> None:
    """For this process and its forks, as soon as one imports the hooks: they cost a third of a second and 57 MB."""
    if HOOKS in sys.modules:
        _change_hooks()
    elif not any(isinstance(each, _Finder) for each in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    """Finds the module of the hooks, as it would be found otherwise, and changes it when it has been executed."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path, target) if fullname == HOOKS else None
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            _change_hooks()

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


@changes_airflow("upstream's operators cannot use in_cluster=True here")
def _change_hooks() -> None:
    module: Any = sys.modules[HOOKS]
    hook, asynchronous = module.KubernetesHook, module.AsyncKubernetesHook
    get_conn, load_config = hook.get_conn, asynchronous._load_config

    def get_conn_of_the_run(self: Any) -> Any:
        extras = _led(self, self.conn_extras)
        if extras is None:
            return get_conn(self)
        led = copy.copy(self)
        led.conn_extras, led.in_cluster, led.config_file, led.cluster_context = extras, None, None, None
        client = get_conn(led)
        # For the pod's label, which says what the author wrote.
        self._is_in_cluster = True
        return client

    async def load_config_of_the_run(self: Any) -> None:
        extras = _led(self, await self.get_conn_extras())
        if extras is not None:
            # Here for good: what has been loaded is kept in the hook.
            self._extras, self.in_cluster, self.cluster_context = extras, None, None
        await load_config(self)

    hook.get_conn = get_conn_of_the_run
    asynchronous._load_config = load_config_of_the_run


def _led(hook: Any, extras: Mapping[str, Any]) -> dict[str, Any] | None:
    """The connection's fields with the run's kubeconfig, for a hook that asks for its pod's cluster; else None.

    None, too, when another kubeconfig is named beside it, which upstream refuses.
    """

    def of_connection(name: str) -> Any:
        return extras.get(name) or extras.get(OLD_PREFIX + name)

    kubeconfig = os.environ.get(RUN_KUBECONFIG)
    in_cluster = hook.in_cluster if hook.in_cluster is not None else of_connection("in_cluster")
    named = hook.config_file or of_connection("kube_config_path")
    if not kubeconfig or not in_cluster or named not in (None, "", kubeconfig):
        return None
    left_out = {*_LEFT_OUT, *(OLD_PREFIX + name for name in _LEFT_OUT)}
    kept = {name: value for name, value in extras.items() if name not in left_out}
    return kept | {"kube_config_path": kubeconfig}
