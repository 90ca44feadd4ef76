"""Names of images. The cases are those of distribution/reference and of the kubelet's messages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podbay.errors import InvalidInputError, PullError
from podbay.node.images.challenge import Challenge, parse_challenges, token_url
from podbay.node.images.manifest import Descriptor, Platform, choose_manifest, image_config
from podbay.node.images.reference import parse_reference
from podbay.node.images.registry import is_loopback

SHA = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("busybox", "docker.io/library/busybox:latest"),
        ("busybox:1.36", "docker.io/library/busybox:1.36"),
        ("user/app", "docker.io/user/app:latest"),
        ("docker.io/busybox", "docker.io/library/busybox:latest"),
        ("index.docker.io/busybox", "docker.io/library/busybox:latest"),
        ("localhost/bb:1", "localhost/bb:1"),
        ("localhost:5000/bb:1", "localhost:5000/bb:1"),
        ("quay.io/a/b/c:v1", "quay.io/a/b/c:v1"),
        ("Registry/app:1", "Registry/app:1"),
        ("[::1]:5000/a:1", "[::1]:5000/a:1"),
        (f"busybox@{SHA}", f"docker.io/library/busybox@{SHA}"),
        (f"busybox:1@{SHA}", f"docker.io/library/busybox@{SHA}"),
        ("x/a_b.c-d__e/f:T.1_-", "docker.io/x/a_b.c-d__e/f:T.1_-"),
        ("busybox:5000", "docker.io/library/busybox:5000"),
    ],
)
def test_complete_names(image: str, expected: str) -> None:
    assert str(parse_reference(image)) == expected


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ("Not A/valid::image", "invalid reference format"),
        ("", "invalid reference format"),
        ("a b", "invalid reference format"),
        ("busybox:", "invalid reference format"),
        ("busybox:-x", "invalid reference format"),
        ("busybox:" + "x" * 129, "invalid reference format"),
        ("Busybox", "invalid reference format: repository name (library/Busybox) must be lowercase"),
        ("quay.io/Team/App:1", "invalid reference format: repository name (Team/App) must be lowercase"),
        ("a" * 64, f"invalid repository name ({'a' * 64}), cannot specify 64-byte hexadecimal strings"),
        ("busybox@sha256:abc", "invalid reference format"),
        (f"busybox@sha256:{'a' * 63}", "invalid checksum digest length"),
        (f"busybox@md5:{'a' * 32}", "unsupported digest algorithm"),
        ("x/" + "y" * 255, "repository name must not be more than 255 characters"),
        ("busybox\n", "invalid reference format"),
        ("https://quay.io/a", "invalid reference format"),
    ],
)
def test_names_that_are_none(image: str, words: str) -> None:
    with pytest.raises(PullError) as caught:
        parse_reference(image)
    assert caught.value.reason == "InvalidImageName"
    assert str(caught.value) == f'couldn\'t parse image name "{image}": {words}'


@given(st.text(alphabet="aA0./:@-_[]é \n", max_size=40))
def test_complete_names_stay_as_they_are(image: str) -> None:
    try:
        found = parse_reference(image)
    except PullError:
        return
    assert parse_reference(str(found)) == parse_reference(str(found)).__class__(
        found.domain, found.path, "" if found.digest else found.tag, found.digest
    )


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("localhost:5000", True),
        ("127.0.0.1:5000", True),
        ("127.9.9.9", True),
        ("[::1]:5000", True),
        ("10.0.0.1:5000", False),
        ("registry-1.docker.io", False),
        ("localhost.example:5000", False),
    ],
)
def test_loopback_registries(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ('Basic realm="x"', [Challenge("basic", {"realm": "x"})]),
        (
            'Bearer realm="https://a/t?x=1",service="s",scope="repository:a:pull,push"',
            [
                Challenge(
                    "bearer", {"realm": "https://a/t?x=1", "service": "s", "scope": "repository:a:pull,push"}
                )
            ],
        ),
        (
            'Bearer realm="a", error=invalid_token, Basic realm="b"',
            [
                Challenge("bearer", {"realm": "a", "error": "invalid_token"}),
                Challenge("basic", {"realm": "b"}),
            ],
        ),
        ('Basic realm="say \\"hi\\""', [Challenge("basic", {"realm": 'say "hi"'})]),
        ("Negotiate", [Challenge("negotiate", {})]),
        ("", []),
    ],
)
def test_challenges(header: str, expected: list[Challenge]) -> None:
    assert parse_challenges(header) == expected


@given(st.text(max_size=60))
def test_any_header_can_be_read(header: str) -> None:
    parse_challenges(header)


def test_token_urls() -> None:
    challenge = Challenge("bearer", {"realm": "https://auth.example/token?account=a", "service": "reg"})
    assert token_url(challenge, "team/app") == (
        "https://auth.example/token?account=a&scope=repository%3Ateam%2Fapp%3Apull&service=reg"
    )
    for realm in ("", "file:///etc/passwd", "/token", "http://"):
        assert token_url(Challenge("bearer", {"realm": realm}), "a") is None


def _index(*platforms: str) -> dict[str, object]:
    manifests = []
    for number, text in enumerate(platforms):
        os, architecture, variant = (*text.split("/"), "")[:3]
        platform = {"os": os, "architecture": architecture, "variant": variant}
        manifests.append(
            {"digest": f"sha256:{number:064d}", "size": 1, "mediaType": "m", "platform": platform}
        )
    return {"manifests": manifests}


@pytest.mark.parametrize(
    ("platform", "offered", "chosen"),
    [
        (Platform("linux", "amd64"), ["linux/arm64", "linux/amd64"], 1),
        (Platform("linux", "arm64", "v8"), ["linux/arm64", "linux/amd64"], 0),
        (Platform("linux", "arm64", "v8"), ["linux/arm64/v8"], 0),
        (Platform("linux", "arm", "v7"), ["linux/arm/v5", "linux/arm/v7", "linux/arm/v6"], 1),
        (Platform("linux", "arm", "v6"), ["linux/arm/v5", "linux/arm/v7", "linux/arm/v6"], 2),
        (Platform("linux", "amd64"), ["windows/amd64", "linux/amd64"], 1),
    ],
)
def test_choosing_a_manifest(platform: Platform, offered: list[str], chosen: int) -> None:
    assert choose_manifest(_index(*offered), platform) == Descriptor("m", f"sha256:{chosen:064d}", 1)


def test_no_manifest_fits() -> None:
    with pytest.raises(InvalidInputError) as caught:
        choose_manifest(_index("linux/arm64", "windows/amd64"), Platform("linux", "amd64"))
    assert str(caught.value) == (
        "no match for platform in manifest: the image is for linux/arm64, windows/amd64, this node is linux/amd64"
    )


def test_attestations_are_no_images() -> None:
    index = _index("linux/amd64", "unknown/unknown")
    index["manifests"][1]["annotations"] = {"vnd.docker.reference.type": "attestation-manifest"}  # type: ignore[index]
    assert choose_manifest(index, Platform("linux", "amd64")).digest.endswith("0")


@pytest.mark.parametrize(
    "config", [{}, {"config": None}, {"config": {"Cmd": None, "Entrypoint": None, "Volumes": None}}]
)
def test_configurations_with_little_in_them(config: dict[str, object]) -> None:
    found = image_config(config)
    assert (found.command, found.entrypoint, found.env, found.user) == ((), (), (), "")
