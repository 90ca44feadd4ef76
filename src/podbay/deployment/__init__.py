"""The deployment platform: one file, podbay.yaml, and what follows from it for a cluster and for every pod.

    podbay.yaml -> reading, format    the file to a Deployment (model), with file, line and field path of what is wrong
    desired     -> objects            the Kubernetes objects that it asks for (pure): access, sizes, admission, network
    observe     -> plan -> apply      what is there, the difference (pure), server-side apply; destroy takes it away
    enforce     a pod made to fit (pure); check: what is wrong with one, before it is sent
    vault       secret variables in the Secret `env-secrets`
    handover    what an Airflow needs to know: environment, connection, Helm values
    usage       what tasks requested and used; rightsizing: what they should ask for; raising: more memory after a kill
    doctor      is the cluster ready for this, and if not, what to do

The cluster is the authority: what `enforce` and `check` say early, LimitRange, ResourceQuota and
ValidatingAdmissionPolicy say again to whoever goes round them. Spec C-F and table c; docs/platform.md.
"""
