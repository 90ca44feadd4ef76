"""Image registries as seen by somebody who launches pods: logins that stay valid, and what is known of an image before it runs.

    image_name, challenge, failures   names, WWW-Authenticate, and refusals in words (pure)
    logins      registry logins and docker's config.json (pure); credential_helper runs docker-credential-… programs
    client      requests to registries -> facts: digest, platforms, size, entrypoint; cache; advice (pure)
    pull_secrets    logins as Secrets of a deployment's namespace; file_entry names them in podbay.yaml
    amazon      ECR tokens, repository policies, roles of nodes        google, azure    tokens of others
    refresh     logins that expire, minted anew in time; cronjob renders who does that in the cluster

Nodes pull images with code of their own (podbay.node.images); this side shares none with them. docs/registries.md.
"""
