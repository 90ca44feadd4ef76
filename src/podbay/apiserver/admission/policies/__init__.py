"""Admission plugin ValidatingAdmissionPolicy: requests are judged by rules that users wrote in CEL.

matching.py says which requests a policy is about, params.py finds its parameters, inputs.py what expressions see,
evaluation.py runs them, plugin.py answers. Source: k8s.io/apiserver/pkg/admission/plugin/policy.
"""

from podbay.apiserver.admission.policies.plugin import ValidatingAdmissionPolicy

__all__ = ["ValidatingAdmissionPolicy"]
