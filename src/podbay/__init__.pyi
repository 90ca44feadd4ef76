from podbay.airflow.operators import KubernetesPodOperator as KubernetesPodOperator

__all__ = ["KubernetesPodOperator", "__version__"]

__version__: str
