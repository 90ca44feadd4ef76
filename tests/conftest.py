"""Fixtures of all suites. `--cluster=KUBECONFIG` runs the contract tests against a real cluster."""

from __future__ import annotations

import pytest

try:
    from hypothesis import HealthCheck, settings
except ImportError:  # .venv-airflow does without
    pass
else:
    # How long an example takes says more of the machine than of the code.
    settings.register_profile("podbay", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("podbay")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--cluster",
        metavar="KUBECONFIG",
        default=None,
        help="Run cluster tests against this cluster instead of an embedded one.",
    )
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="Write what comes out into tests/golden instead of comparing.",
    )
    parser.addoption(
        "--airflow-database",
        choices=("sqlite", "postgresql"),
        default="sqlite",
        help="What the Airflow of the behaviour tests keeps its state in (tests/outside).",
    )
    faults = parser.getgroup("faults", "the fault suite (script/test-faults)")
    faults.addoption("--fault-pods", type=int, default=60, help="How many pods it runs at once.")
    faults.addoption(
        "--fault-tasks", type=int, default=0, help="How many Airflow tasks; 0 leaves that suite out."
    )
    faults.addoption(
        "--healer-tasks",
        type=int,
        default=0,
        help="Of the healer's chaos; 0 leaves it out (script/test-healer-chaos).",
    )
    faults.addoption("--fault-seed", type=int, default=0, help="What is random about it; 0 chooses.")
    faults.addoption("--fault-image", default="busybox", help="With --cluster: an image that has a shell.")


def pytest_configure(config: pytest.Config) -> None:
    # Most suites look at the API; those that need containers start clusters of their own.
    config.option.podbay_nodes = "scripted"
    chosen = config.getoption("--cluster")
    if chosen is not None:
        config.option.podbay_cluster = chosen
