"""Reads a kubeconfig together with every file that it names, so that nothing but the text is needed afterwards."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from podbay.connections.portable import Portable, portable
from podbay.errors import InvalidInputError
from podbay.kube.config import ClientCertificate, ClusterConfig, SecretText, StaticToken, TokenFile
from podbay.kube.kubeconfig import load_kubeconfig, parse_kubeconfig

__all__ = ["read_files", "read_kubeconfig"]


def read_kubeconfig(source: str | None, *, text: str = "", context: str | None = None) -> Portable:
    """From the file `source`, from $KUBECONFIG or ~/.kube/config (None), or from `text` ("-").

    Raises InvalidInputError that names file and field.
    """
    if source == "-":
        # There is no directory that a relative path could count from.
        config = parse_kubeconfig(text, context=context, origin="stdin")
    else:
        config = load_kubeconfig(source, context=context)
    return read_files(config)


def read_files(config: ClusterConfig) -> Portable:
    """The same without files. Raises InvalidInputError."""
    origin, credential = config.origin, config.credential
    certificate = config.certificate
    if certificate is not None:
        certificate = ClientCertificate(
            _pem(origin, certificate.cert_path) or certificate.cert_pem,
            SecretText(_pem(origin, certificate.key_path) or certificate.key_pem.reveal()),
        )
    copied = isinstance(credential, TokenFile)
    if isinstance(credential, TokenFile):
        token = _text(origin, credential.path).strip()
        if not token:
            raise InvalidInputError(f"{origin}: the token file {credential.path} is empty")
        credential = StaticToken(SecretText(token))
    plain = replace(
        config,
        certificate=certificate,
        credential=credential,
        ca_pem=_pem(origin, config.ca_path) or config.ca_pem,
        ca_path=None,
    )
    return portable(plain, copied_token=copied)


def _pem(origin: str, path: Path | None) -> str:
    if path is None:
        return ""
    text = _text(origin, path)
    if "-----BEGIN" not in text:
        raise InvalidInputError(f"{origin}: {path} is not a PEM text")
    return text


def _text(origin: str, path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as err:
        raise InvalidInputError(f"{origin}: {path} cannot be read: {err}") from err
