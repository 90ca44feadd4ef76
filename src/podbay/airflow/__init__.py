"""Podbay inside Airflow: the operator and what surrounds it; and Airflow around a cluster (running)."""
