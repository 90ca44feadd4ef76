"""Amazon EKS without the AWS command line: where a cluster is, tokens for it, and who may do what there.

    token       a presigned request of STS as a bearer token (pure)
    place       what a connection says of a cluster; what Airflow's AWS connections say of an identity (pure)
    eks         DescribeCluster and the source of tokens: a ClusterConfig that renews itself
    access_policy -> access    access entries, access policies and trust policies: what is wanted (pure), and calling AWS

Calls of AWS go through registries/amazon/session.py. Needs the extra `aws` (boto3), loaded when first used.
"""
