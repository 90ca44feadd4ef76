"""The healer: every task pod has an owner or a reason, and what has neither goes, with proof and with restraint.

world          what is known: pods, task instances, nodes; and how far it may be trusted
rules          grace periods and bounds
matching       whose a pod is, by exact annotations, else by labels computed forward from task instances
checks         one pure file for each thing that can be wrong
restraint      budget, and the full stop
decide         world and rules to actions; pure
airflow_api    task instances over Airflow's REST API
acting         actions as requests, each told as a Kubernetes Event
reconciler     one round; service: round after round, one healer at a time
"""
