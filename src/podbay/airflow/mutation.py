"""The deployment's pod_mutation_hook on our manifests: platforms enforce their rules there, last of all (spec 19).

Hooks take the official client's V1Pod. That client costs 50 MB, so it is imported only where a hook exists.
"""

from __future__ import annotations

from collections.abc import Callable

from podbay.airflow.enforcing import enforcement
from podbay.objects.meta import Object

__all__ = ["pod_mutation"]


def pod_mutation() -> Callable[[Object], Object] | None:
    """A function that applies all hooks, then the deployment; None without any. Slow the first time: call it in a thread."""
    hooks, enforce = _hooks(), enforcement()
    if hooks is None or enforce is None:
        return hooks or enforce

    def both(pod: Object) -> Object:
        return enforce(hooks(pod))

    return both


def _hooks() -> Callable[[Object], Object] | None:
    from airflow.policies import DefaultPolicy

    from airflow import settings
    from podbay.airflow import policy

    hooks = settings.get_policy_plugin_manager().hook.pod_mutation_hook.get_hookimpls()
    if all(hook.plugin in (DefaultPolicy, policy) for hook in hooks):
        # Ours needs no model; it follows on the plain manifest.
        return None
    from podbay.airflow.models import manifest_of, model_of

    def mutate(pod: Object) -> Object:
        model = model_of(pod)
        settings.pod_mutation_hook(model)
        return manifest_of(model)

    return mutate
