"""Airflow DAGs of the healer's chaos: upstream's operator, unmodified."""

from __future__ import annotations

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from chaos_parts import make_dags

make_dags("upstream", KubernetesPodOperator)
