"""Airflow connections to clusters: made self-contained, checked step by step, written where Airflow finds them.

    portable   a kubeconfig that needs no file of this machine (pure; `reading` reads the files first)
    probing -> steps    asks the cluster, one thing after the other -> what each answer means (pure)
    entry      the connection in Airflow's shapes: environment line, import file, REST body (pure)
    storing    writes it by Airflow's REST API, and reads it back

Source: spec G (80-97); airflow.providers.cncf.kubernetes.hooks.kubernetes for the fields.
"""
