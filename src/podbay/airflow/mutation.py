"""The deployment's pod_mutation_hook on our manifests: platforms enforce their rules there, last of all (spec 19).

Hooks take the official client's V1Pod. That client costs 50 MB, so it is imported only where a hook exists.
"""

from __future__ import annotations

from collections.abc import Callable

from podbay.airflow.enforcing import enforcement
from podbay.objects.meta import Object

__all__ = ["has_hooks", "pod_mutation"]


def pod_mutation(queue: str | None = None) -> Callable[[Object], Object] | None:
    """A function that applies all hooks, then the deployment; None without any. Slow the first time: call it in a thread."""
    hooks, enforce = _hooks(), enforcement(queue)
    if hooks is None or enforce is None:
        return hooks or enforce

    def both(pod: Object) -> Object:
        return enforce(hooks(pod))

    return both


def has_hooks(*names: str) -> bool:
    """Somebody else than Podbay and Airflow itself has hooks of these names."""
    from airflow.policies import DefaultPolicy

    from airflow import settings
    from podbay.airflow import policy

    found = settings.get_policy_plugin_manager().hook
    hooks = [hook for name in names for hook in getattr(found, name).get_hookimpls()]
    return any(hook.plugin not in (DefaultPolicy, policy) for hook in hooks)


def _hooks() -> Callable[[Object], Object] | None:
    if not has_hooks("pod_mutation_hook"):
        # Ours needs no model; it follows on the plain manifest.
        return None
    from airflow import settings
    from podbay.airflow.models import manifest_of, model_of

    def mutate(pod: Object) -> Object:
        model = model_of(pod)
        settings.pod_mutation_hook(model)
        return manifest_of(model)

    return mutate
