"""How registries, containerd, CRI-O and Docker word a pull that failed, and what each wording proves.

Registries differ most where something is missing: Docker Hub, GitHub and Quay answer a missing repository like a private
one, so that nobody can tell them apart; Google says "or it may not exist"; ECR, Harbor and Artifactory say which it is.
Sources: containerd core/remotes/docker, Docker's distribution errors, containers/image, the OCI distribution
specification (error codes), the registries' own answers, and podbay.node.images and podbay.node.engine.pull_errors.
"""

from __future__ import annotations

from typing import Final

from podbay.lifecycle.diagnosis.category import Category, Rule, rule

__all__ = ["CATEGORIES", "RULES"]

NOT_FOUND: Final = Category(
    word="ImageNotFound",
    meaning="The registry has no such repository, or no such image in it.",
    fix="Correct the name in `image`, or push the image to that registry.",
    blame="user",
    heals="never",
)
TAG_NOT_FOUND: Final = Category(
    word="ImageTagNotFound",
    meaning="The registry has no such tag or digest; some say so of a missing repository as well.",
    fix="Correct the tag (or the name) in `image`, or push that tag.",
    blame="user",
    heals="never",
)
NOT_FOUND_OR_DENIED: Final = Category(
    word="ImageNotFoundOrDenied",
    meaning="The registry refuses, and does not say whether the image is missing or private.",
    fix="Check the name in `image`; if the image is private, name a Secret with a login in `imagePullSecrets`.",
    blame="user",
    heals="never",
)
DENIED: Final = Category(
    word="ImagePullDenied",
    meaning="The registry wants a login, or refuses the one it was given.",
    fix="Give a login that may pull this image: a Secret of type kubernetes.io/dockerconfigjson in `imagePullSecrets`.",
    blame="user",
    heals="never",
)
LOGIN_EXPIRED: Final = Category(
    word="RegistryLoginExpired",
    meaning="The login for the registry was good once and is not any more (ECR logins last twelve hours).",
    fix="Renew the login in the Secret named in `imagePullSecrets`, or let the nodes log in by themselves.",
    blame="platform",
    heals="never",
)
RATE_LIMITED: Final = Category(
    word="RegistryRateLimited",
    meaning="The registry answers 429: too many pulls.",
    fix="Wait, pull with a login, or use a mirror of the registry.",
    blame="platform",
    heals="maybe",
)
CLOCK: Final = Category(
    word="RegistryCertificateTime",
    meaning="The registry's certificate is expired or not valid yet by the node's clock.",
    fix="Compare the node's clock with the certificate's dates; set the clock right, or renew the certificate.",
    blame="platform",
    heals="never",
)
CERTIFICATE: Final = Category(
    word="RegistryCertificate",
    meaning="The node does not trust the registry's TLS certificate.",
    fix="Install the registry's CA certificate on the nodes, or use a registry whose certificate they trust.",
    blame="platform",
    heals="never",
)
PLAIN_HTTP: Final = Category(
    word="RegistryNotHttps",
    meaning="The registry speaks HTTP where the node expects HTTPS.",
    fix="Serve the registry over HTTPS, or allow it as insecure in the nodes' container runtime.",
    blame="platform",
    heals="never",
)
ARCHITECTURE: Final = Category(
    word="WrongArchitecture",
    meaning="The image, or the program in it, is built for another processor than the node has.",
    fix="Build the image for the node's architecture (`docker buildx build --platform …`), or choose nodes by the label kubernetes.io/arch.",
    blame="user",
    heals="never",
)
NAME_UNKNOWN: Final = Category(
    word="RegistryNameUnknown",
    meaning="The registry's host name does not resolve on the node.",
    fix="Correct the host in `image`, or load the image into Podbay's own cluster, `podbay cluster load` with its name or a tar file; if the host is right, check DNS on the node.",
    blame="user",
    heals="maybe",
)
NOT_HERE: Final = Category(
    word="RegistryNotHere",
    meaning="The image's name means a registry on the node itself (localhost, 127.*), and nothing listens there.",
    fix="Load the image into Podbay's own cluster, `podbay cluster load` with its name or a tar file; or correct the host in `image`.",
    blame="user",
    heals="never",
)
UNREACHABLE: Final = Category(
    word="RegistryUnreachable",
    meaning="The registry cannot be reached, breaks the connection, is too slow, or answers 5xx.",
    fix="Wait for the registry to come back; if it does not, check firewall and proxy between node and registry.",
    blame="infrastructure",
    heals="maybe",
)
DISK_FULL: Final = Category(
    word="NodeDiskFull",
    meaning="The node has no disk space left for the image, the container or its files.",
    fix="Free disk on the node or give nodes larger disks; smaller images help too.",
    blame="platform",
    heals="maybe",
)
DAMAGED: Final = Category(
    word="ImageDamaged",
    meaning="What the registry sent is not what it announced: a layer does not match its digest, or cannot be unpacked.",
    fix="Push the image again; if only one node complains, its image store is damaged.",
    blame="infrastructure",
    heals="maybe",
)
FORMAT: Final = Category(
    word="ImageFormatUnsupported",
    meaning="The image's manifest is of a kind the node's runtime does not read.",
    fix="Rebuild and push the image with a current tool; old schema 1 manifests are not accepted any more.",
    blame="user",
    heals="never",
)
SIGNATURE: Final = Category(
    word="ImageSignatureRefused",
    meaning="The node's policy wants a signature that the image does not have.",
    fix="Sign the image, or have the policy of the nodes' container runtime changed.",
    blame="platform",
    heals="never",
)

CATEGORIES: Final = (
    NOT_FOUND, TAG_NOT_FOUND, NOT_FOUND_OR_DENIED, DENIED, LOGIN_EXPIRED, RATE_LIMITED, CLOCK, CERTIFICATE,
    PLAIN_HTTP, ARCHITECTURE, NAME_UNKNOWN, NOT_HERE, UNREACHABLE, DISK_FULL, DAMAGED, FORMAT, SIGNATURE,
)  # fmt: skip

_HTTP = r"(?:: |\bcode:? ?|\bstatus:? ?)"
"""What stands before a status in a message; tags and ports are numbers as well."""
_NO_LOGIN = "{host} gives it only to those who log in, and the node had no login"

# The first that fits counts. Denials may speak of names, certificates of failed dials: the exact ones stand first.
RULES: Final[tuple[Rule, ...]] = (
    rule(
        RATE_LIMITED,
        r"toomanyrequests|too many requests|" + _HTTP + r"429\b|rate limit|rate exceeded",
        "{host} limits how often images are pulled",
    ),
    rule(
        CLOCK,
        r"certificate has expired or is not yet valid|certificate is not yet valid|certificate has expired",
        "by the node's clock the certificate of {host} is not valid now",
    ),
    rule(
        CERTIFICATE,
        r"x509:|certificate signed by unknown|bad certificate|certificate is valid for|failed to verify certificate",
        "the node does not trust the certificate of {host}",
    ),
    rule(
        PLAIN_HTTP,
        r"server gave HTTP response to HTTPS client",
        "{host} speaks HTTP where the node expects HTTPS",
    ),
    rule(
        ARCHITECTURE,
        r"the image is for (?P<built>\S+?), this node is (?P<node>\S+)",
        "it is built for {built}, and the node is {node}",
    ),
    rule(
        ARCHITECTURE,
        r"no matching manifest for (?P<node>[\w/]+)",
        "it has no build for {node}, which is what the node is",
    ),
    rule(
        ARCHITECTURE,
        r"no image found in (?:manifest list|image index) for architecture \"?(?P<node>\w+)",
        "it has no build for {node}, which is what the node is",
    ),
    rule(
        ARCHITECTURE,
        r"no match for platform|does not match the specified platform|no matching manifest|no image found in",
        "it has no build for the processor of the node",
    ),
    rule(
        LOGIN_EXPIRED,
        r"token has expired|token is expired|expired token|reauthenticate",
        "the login for {host} has expired",
    ),
    rule(
        DISK_FULL,
        r"no space left on device|disk quota exceeded",
        "the node has no disk space left for it",
    ),
    rule(
        FORMAT,
        r"is no longer supported|schema ?1|unsupported manifest|unsupported media ?type|mediatype .* not supported",
        "the node's runtime cannot read its manifest",
    ),
    rule(
        SIGNATURE,
        r"SignatureValidationFailed|signature .*(?:required|missing|not accepted)|source image rejected",
        "the node's policy refuses it, because it is not signed as required",
    ),
    # Refused for want of a login, said plainly.
    rule(DENIED, r"no basic auth credentials|authentication is required|unauthenticated request", _NO_LOGIN),
    rule(
        DENIED,
        r"incorrect username or password|invalid username/password|failed to fetch oauth token|bad username",
        "{host} refused the login it was given",
        "Correct the login in the Secret named in `imagePullSecrets`.",
    ),
    # Refused without saying why: Docker Hub, GitHub (anonymous token), Google, Quay.
    rule(
        NOT_FOUND_OR_DENIED,
        r"repository does not exist or may require|pull access denied|or it may not exist|"
        r"access to the requested resource is not authorized|failed to fetch anonymous token.*\b40[13]\b|insufficient_scope",
        "{host} refuses it: it does not exist there, or it is private and the node had no login",
    ),
    rule(
        TAG_NOT_FOUND,
        r"the repository \"[^\"]*\" has no |manifest unknown|manifest_unknown|named manifest is not known|"
        r"artifact \S+ not found|manifest for \S+ not found|requested image not found|failed to find .*tag",
        "{host} has no {tag} of it",
    ),
    rule(
        NOT_FOUND,
        r"name unknown|name_unknown|the registry has no repository|repository name not known|"
        r"repository \S+ not found|project \S+ not found|repository with name '[^']*' does not exist",
        "{host} has no such repository",
    ),
    rule(
        DENIED,
        r"unauthorized|authorization failed|" + _HTTP + r"40[13]\b|denied|forbidden",
        "{host} refuses to give it to the node",
    ),
    rule(
        NAME_UNKNOWN,
        r"no such host|name or service not known",
        "the node cannot find a machine called {host}",
    ),
    rule(
        UNREACHABLE,
        _HTTP + r"(?P<status>50[0234])\b",
        "{host} answers {status}",
    ),
    rule(
        UNREACHABLE,
        r"connection refused|connection reset|i/o timeout|handshake timeout|deadline exceeded|client\.timeout|timed out|"
        r"no route to host|network is unreachable|server misbehaving|temporary failure in name resolution|broken pipe|"
        r"\beof\b|dial tcp|request canceled|no way to connect|RegistryUnavailable|service unavailable|bad gateway",
        "the node cannot reach {host}",
    ),
    rule(
        DAMAGED,
        r"failed to extract layer|failed to unpack|wrong diff id|unexpected commit digest|failed size validation|"
        r"content descriptor .* not found|invalid tar header|unexpected content digest|digest mismatch",
        "what {host} sent is incomplete or damaged",
    ),
    # Last, because so many others end with these words: containerd's plain 404.
    rule(NOT_FOUND, r"not found", "{host} does not have it: the repository or its {tag} does not exist"),
)
