"""A Kubernetes cluster for other people's tests.

    def test_my_dag(podbay_cluster, podbay_namespace):
        client = kubernetes.config.new_client_from_config(str(podbay_cluster.kubeconfig))

The fixtures come with the package; `--podbay-cluster=KUBECONFIG` runs the same tests against a real cluster.
"""

from podbay.testing.environment import Environment

__all__ = ["Environment"]
