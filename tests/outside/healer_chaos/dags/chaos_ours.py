"""Airflow DAGs of the healer's chaos: this project's operator."""

from __future__ import annotations

from chaos_parts import make_dags

from podbay import KubernetesPodOperator

make_dags("ours", KubernetesPodOperator)
