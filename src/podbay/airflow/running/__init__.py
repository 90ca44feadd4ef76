"""A private Airflow around a cluster: `podbay run` (one DAG file, once) and `podbay up` (a whole one, kept).

    requirement   is there an Airflow that will do
    home          directories, locks, what is kept for the next start
    settings      airflow.cfg and the environment, purely
    connection    the chosen cluster as a kubeconfig file of its own
    host          the one process that imports Airflow and forks everything else from itself   (inside Airflow)
    driver        one run: load the file, start the run, tell of its tasks                     (inside Airflow)
    healing       the healer of `podbay up`                                                    (inside Airflow)
    link          the host as its starter sees it: a process, messages in and out
    session       one `podbay run` from start to end
    picture       what is known of the run's tasks and pods, purely
    stack         `podbay up` and `down`

Only the modules marked so import Airflow; they are never imported by the others.
"""
