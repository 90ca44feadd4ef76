"""Why a cluster cannot be reached or has not been given credentials. Texts: podbay.kube.transport, exec_plugin, credentials."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from podbay.errors import CredentialError, InvalidInputError, UnreachableError
from podbay.lifecycle.diagnosis.category import Category
from podbay.lifecycle.diagnosis.model import Diagnosis
from podbay.lifecycle.diagnosis.sight import Sight

__all__ = ["CATEGORIES", "find_cluster_trouble"]

DNS: Final = Category(
    word="ServerNameUnknown",
    meaning="The API server's host name does not resolve here.",
    fix="Correct `server` in the kubeconfig; check DNS and VPN.",
    blame="platform",
    heals="maybe",
)
REFUSED: Final = Category(
    word="ServerRefused",
    meaning="Nothing accepts connections at the API server's address (or the proxy does not let us through).",
    fix="Check that the cluster runs, and address, port and proxy in the kubeconfig.",
    blame="infrastructure",
    heals="maybe",
)
CERTIFICATE: Final = Category(
    word="ServerCertificate",
    meaning="The API server's certificate does not fit the CA or the name in the kubeconfig.",
    fix="Take `certificate-authority-data` and `server` from the cluster's current kubeconfig.",
    blame="platform",
    heals="never",
)
CLOCK: Final = Category(
    word="ClockSkew",
    meaning="By the clock here, the API server's certificate is not valid yet or not any more.",
    fix="Set the clock of this machine right (`timedatectl`); if it is right, renew the cluster's certificates.",
    blame="platform",
    heals="never",
)
TLS: Final = Category(
    word="ServerTls",
    meaning="The TLS handshake with the API server failed.",
    fix="Check that the port speaks https, and what stands between here and the cluster.",
    blame="platform",
    heals="maybe",
)
TIMEOUT: Final = Category(
    word="ServerTimeout",
    meaning="No connection to the API server came about in time.",
    fix="Check firewall, VPN and security groups between here and the cluster.",
    blame="infrastructure",
    heals="maybe",
)
SILENT: Final = Category(
    word="ServerSilent",
    meaning="The connection to the API server is up, and no answer comes.",
    fix="Wait; if it stays so, look at the control plane's load and at proxies between here and the cluster.",
    blame="infrastructure",
    heals="maybe",
)
BROKEN: Final = Category(
    word="ConnectionBroken",
    meaning="The connection to the API server broke before its answer was whole.",
    fix="Wait; if it happens often, look for proxies or load balancers that cut long connections.",
    blame="infrastructure",
    heals="maybe",
)
PLUGIN_MISSING: Final = Category(
    word="CredentialPluginMissing",
    meaning="The kubeconfig names a credential plugin that is not installed where the task is driven.",
    fix="Install the plugin where the triggerer or worker runs, on its PATH.",
    blame="platform",
    heals="never",
)
PLUGIN_HANGS: Final = Category(
    word="CredentialPluginHangs",
    meaning="The credential plugin gives no answer.",
    fix="Run it by hand with stdin closed; it may wait for input or for a network it cannot reach.",
    blame="platform",
    heals="maybe",
)
PLUGIN_RUBBISH: Final = Category(
    word="CredentialPluginAnswer",
    meaning="The credential plugin printed something that is no credential.",
    fix="Run it by hand: it must print one ExecCredential as JSON, and nothing else, on stdout.",
    blame="platform",
    heals="never",
)
PLUGIN_FAILED: Final = Category(
    word="CredentialPluginFailed",
    meaning="The credential plugin failed.",
    fix="Run it by hand and do what it says: most often its own login has expired.",
    blame="platform",
    heals="maybe",
)
CREDENTIALS: Final = Category(
    word="CredentialsUnavailable",
    meaning="No credentials for the cluster could be had (token file, cloud identity).",
    fix="Do what the message says; check the connection's credentials.",
    blame="platform",
    heals="maybe",
)
INPUT: Final = Category(
    word="InvalidConfiguration",
    meaning="A kubeconfig, connection or option is wrong: a context or user that does not exist, for instance.",
    fix="Correct what the message names.",
    blame="user",
    heals="never",
)

CATEGORIES: Final = (
    DNS, REFUSED, CERTIFICATE, CLOCK, TLS, TIMEOUT, SILENT, BROKEN,
    PLUGIN_MISSING, PLUGIN_HANGS, PLUGIN_RUBBISH, PLUGIN_FAILED, CREDENTIALS, INPUT,
)  # fmt: skip

_KINDS: Final = {
    "dns": DNS,
    "refused": REFUSED,
    "tls": TLS,
    "timeout": TIMEOUT,
    "silent": SILENT,
    "broken": BROKEN,
}
_CLOCK: Final = re.compile(r"not yet valid|has expired|expired or is not yet valid", re.IGNORECASE)
_ADVICE: Final = re.compile(r"(?:Add|Correct|Install|Set|Take|Update|Use) .*[.?]$", re.DOTALL)
_PLUGIN: Final[tuple[tuple[Category, re.Pattern[str]], ...]] = (
    (PLUGIN_MISSING, re.compile(r"credential plugin .* (?:was not found|cannot be run)")),
    (PLUGIN_HANGS, re.compile(r"(?:credential plugin .* gave no answer|gave no token) within")),
    (
        PLUGIN_RUBBISH,
        re.compile(
            r"credential plugin .*(?:not JSON|not an ExecCredential|gave a client certificate without|"
            r"gave neither a token|answered with apiVersion|not a time)"
        ),
    ),
    (PLUGIN_FAILED, re.compile(r"credential plugin .*(?:exited with|killed by signal)")),
    (INPUT, re.compile(r"credential plugin .* interactiveMode Always")),
)


def find_cluster_trouble(sight: Sight) -> Iterator[Diagnosis]:
    """What kept the request from the API server, in the client's own words, which name cause and fix already."""
    error = sight.facts.error
    text = str(error)
    if isinstance(error, UnreachableError):
        category = _KINDS.get(error.kind, BROKEN)
        if error.kind == "tls" and error.permanent:
            category = CLOCK if _CLOCK.search(text) else CERTIFICATE
    elif isinstance(error, CredentialError):
        category = next((each for each, pattern in _PLUGIN if pattern.search(text)), CREDENTIALS)
    elif isinstance(error, InvalidInputError):
        category = INPUT
    else:
        return
    cause, fix = _split(text)
    if category is PLUGIN_MISSING:
        # What follows is the kubeconfig's own installHint, in whatever words.
        fix = fix or text.partition(" was not found. ")[2]
    evidence = [] if error is None else [f"the client says: {text}"]
    # The client advises a new CA whenever a certificate does not verify; for a wrong clock that is the wrong advice.
    yield category.found(cause, fix="" if category is CLOCK else fix, evidence=evidence)


def _split(text: str) -> tuple[str, str]:
    """What happened, and what to do if the message ends with advice."""
    first, _, rest = text.partition(". ")
    if _ADVICE.match(rest):
        return first, rest
    return (text, "") if rest.startswith("It says") else (first, "")
