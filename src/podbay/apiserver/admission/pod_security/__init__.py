"""Pod security standards: the levels baseline and restricted, and the admission plugin that enforces them.

Source: k8s.io/pod-security-admission.
"""

from podbay.apiserver.admission.pod_security.plugin import PodSecurity

__all__ = ["PodSecurity"]
