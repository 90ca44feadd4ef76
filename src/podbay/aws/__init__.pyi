from podbay.airflow.nodegroup import EksNodegroup as EksNodegroup

__all__ = ["EksNodegroup"]
