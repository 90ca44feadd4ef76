"""The task API of a private Airflow in one version, its own.

Airflow's execution API is prepared for workers of nine older releases; making those routes takes four to five seconds of
a core at the first request, in the API server and again in the triggerer, while every task waits. Here everybody who
asks is a copy of this process. Should Airflow's parts not be as expected, all versions stay and only time is lost.
"""

from __future__ import annotations

from podbay.airflow.running.airflows_parts import changes_airflow

__all__ = ["serve_own_version_only"]

_OLD_ROUTE = "_CADWYN_DELETED_ROUTE"
"""Cadwyn's mark on routes that only older versions have."""


@changes_airflow("the task API keeps all its versions")
def serve_own_version_only() -> None:
    """Must be called before an API server or triggerer is made in this process or a fork of it."""
    from airflow.api_fastapi.execution_api import versions
    from airflow.api_fastapi.execution_api.routes import execution_api_router
    from cadwyn import HeadVersion, Version, VersionBundle

    own = versions.bundle.versions[0].value
    routes = [r for r in execution_api_router.routes if _OLD_ROUTE not in getattr(r, "tags", ())]
    versions.bundle = VersionBundle(HeadVersion(), Version(own))
    execution_api_router.routes[:] = routes
