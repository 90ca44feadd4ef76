"""The scheduler: which node a pod goes to, or why none takes it, in kube-scheduler's own words.

`filters`, `scoring`, `preemption`, `messages` and `requests` decide and do no I/O; `cache` and `queue` remember;
`scheduler` talks to the API.
"""
