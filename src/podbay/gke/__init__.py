"""Google Kubernetes Engine without gcloud: where a cluster is, and access tokens for it.

    place      what a connection says of a cluster (pure)
    cluster    the cluster's description by Google's API, and the source of tokens: a ClusterConfig that renews itself

Needs the extra `gcp` (google-auth), loaded when first used.
"""
