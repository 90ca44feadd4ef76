"""The packages that optional parts of Podbay need, as a command to type. Podbay itself is installed from a checkout or a wheel,
so its extras have no name that pip could find."""

from __future__ import annotations

__all__ = ["EXTRAS", "pip_install"]

EXTRAS = {
    "airflow": ("apache-airflow>=3.3", "apache-airflow-providers-cncf-kubernetes>=10.25"),
    "aws": ("boto3>=1.34",),
    "gcp": ("google-auth[requests]>=2.29",),
    "otel": ("opentelemetry-sdk>=1.30", "opentelemetry-exporter-otlp-proto-http>=1.30"),
}
"""As pyproject.toml has them: a test compares."""


def pip_install(*extras: str, upgrade: bool = False) -> str:
    """The command that installs what these extras need."""
    packages = [f'"{package}"' for extra in extras for package in EXTRAS[extra]]
    return " ".join(["pip install", *(["--upgrade"] if upgrade else []), *packages])
