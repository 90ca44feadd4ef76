"""The client: how Podbay talks to any Kubernetes cluster, and the watch and logs that all tasks of a process share.

    kubeconfig  -> config     which cluster, as whom (values; secrets masked)
    auth        -> credentials    what must be done for a credential (pure) and doing it
    transport   the only file that knows the HTTP library
    retry, limits, client     one request, repeated when that is safe, never faster than the cluster likes
    watch -> store            one stream of changes shared by everybody who waits for one object
    log_lines -> logs         every line exactly once
    lease       one client, one watch, one log pool for each cluster and event loop, counted

Shares no code with the embedded API server. Nothing here is imported by a DAG file; aiohttp loads on first use.
"""
