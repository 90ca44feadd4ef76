"""The deployment's pod_mutation_hook on our manifests: platforms enforce their rules there, last of all (spec 19).

Hooks take the official client's V1Pod. That client costs 50 MB, so it is imported only where a hook exists.
"""

from __future__ import annotations

from collections.abc import Callable

from podbay.objects.meta import Object

__all__ = ["pod_mutation"]


def pod_mutation() -> Callable[[Object], Object] | None:
    """A function that applies all hooks; None without any. Slow the first time: call it in a thread."""
    from airflow.policies import DefaultPolicy

    from airflow import settings

    hooks = settings.get_policy_plugin_manager().hook.pod_mutation_hook.get_hookimpls()
    if all(hook.plugin is DefaultPolicy for hook in hooks):
        return None
    from podbay.airflow.models import manifest_of, model_of

    def mutate(pod: Object) -> Object:
        model = model_of(pod)
        settings.pod_mutation_hook(model)
        return manifest_of(model)

    return mutate
