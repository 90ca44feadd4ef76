"""The kubelet's credential providers: the file, the protocol, the caches, and programs that misbehave."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from podbay.aio.virtual import VirtualClock
from podbay.errors import InvalidInputError
from podbay.node.credential_providers import CredentialProviders, load_providers
from podbay.node.provider_config import parse_duration, parse_provider_config

WORD = "hidden-word-4711"
V1 = "credentialprovider.kubelet.k8s.io/v1"

PROGRAM = """#!{python}
import json, os, sys
from pathlib import Path
here = Path(__file__).parent
asked = json.load(sys.stdin)
with (here / "asked").open("a") as file:
    file.write(json.dumps([asked, sys.argv[1:], os.environ.get("KEY")]) + "\\n")
print((here / "answer").read_text())
"""


class Plugin:
    """A provider's directory, what it answers, and what it was asked."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.script(PROGRAM.format(python=sys.executable))

    def script(self, text: str) -> None:
        path = self.directory / "tests-provider"
        path.write_text(text)
        path.chmod(0o755)

    def answer(self, auth: dict[str, Any], **more: Any) -> None:
        told = {
            "apiVersion": V1,
            "kind": "CredentialProviderResponse",
            "cacheKeyType": "Registry",
            "auth": auth,
        }
        (self.directory / "answer").write_text(json.dumps({**told, **more}))

    @property
    def asked(self) -> list[Any]:
        path = self.directory / "asked"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def config(self, **more: Any) -> Path:
        provider = {
            "name": "tests-provider",
            "apiVersion": V1,
            "matchImages": ["*.registry.test", "registry.test/team"],
            "defaultCacheDuration": "10m",
            "args": ["get"],
            "env": [{"name": "KEY", "value": "set"}],
            **more,
        }
        document = {
            "apiVersion": "kubelet.config.k8s.io/v1",
            "kind": "CredentialProviderConfig",
            "providers": [provider],
        }
        path = self.directory / "config.yaml"
        path.write_text(json.dumps(document))
        return path

    def load(self, clock: VirtualClock, *, seconds: float = 60.0, **more: Any) -> CredentialProviders:
        return CredentialProviders(
            load_providers(self.config(**more), self.directory), clock, seconds=seconds
        )


@pytest.fixture
def plugin(tmp_path: Path) -> Plugin:
    return Plugin(tmp_path)


def login(user: str) -> dict[str, str]:
    return {"username": user, "password": WORD}


async def test_who_is_asked_and_which_login_fits(plugin: Plugin) -> None:
    plugin.answer(
        {"registry.test": login("all"), "registry.test/team": login("team"), "other.test": login("other")}
    )
    providers = plugin.load(VirtualClock())
    found, complaints = await providers.logins("registry.test/team/x")
    assert [each.username for each in found] == ["team", "all"]
    assert complaints == []
    asked, arguments, key = plugin.asked[0]
    assert asked == {"kind": "CredentialProviderRequest", "apiVersion": V1, "image": "registry.test/team/x"}
    assert (arguments, key) == (["get"], "set")
    assert await providers.logins("registry.test/other/x") == ([], [])
    assert await providers.logins("docker.io/library/x") == ([], [])
    assert len(plugin.asked) == 1
    assert WORD not in repr(found)


@pytest.mark.parametrize(
    ("pattern", "repository", "asked"),
    [
        ("*.dkr.ecr.*.amazonaws.com", "1.dkr.ecr.eu-central-1.amazonaws.com/team/x", True),
        ("*.dkr.ecr.*.amazonaws.com", "dkr.ecr.eu-central-1.amazonaws.com/x", False),
        ("*.dkr.ecr.*.amazonaws.com", "1.dkr.ecr.eu-central-1.amazonaws.com.cn/x", False),
        ("*.registry.test", "a.b.registry.test/x", False),
        ("prefix*.registry.test", "prefix-1.registry.test/x", True),
        ("registry.test", "registry.test:5000/x", False),
        ("registry.*:5000", "registry.test:5000/x", True),
        ("registry.*", "registry.test:5000/x", False),
        ("registry.test:5000/team", "registry.test:5000/team/x", True),
        ("registry.test:5000/team", "registry.test:5000/other/team", False),
        ("index.docker.io", "docker.io/library/x", True),
    ],
)
async def test_patterns_of_images(plugin: Plugin, pattern: str, repository: str, asked: bool) -> None:
    plugin.answer({})
    providers = plugin.load(VirtualClock(), matchImages=[pattern])
    await providers.logins(repository)
    assert bool(plugin.asked) == asked


@pytest.mark.parametrize("version", ["v1", "v1beta1", "v1alpha1"])
async def test_a_provider_is_spoken_to_in_its_version(plugin: Plugin, version: str) -> None:
    protocol = f"credentialprovider.kubelet.k8s.io/{version}"
    plugin.answer({"*.registry.test": login("u")}, apiVersion=protocol)
    providers = plugin.load(VirtualClock(), apiVersion=protocol)
    assert [each.username for each in (await providers.logins("a.registry.test/x"))[0]] == ["u"]
    assert plugin.asked[0][0]["apiVersion"] == protocol
    # One that answers in another version is not believed.
    other = "v1beta1" if version == "v1" else "v1"
    plugin.answer({"*.registry.test": login("u")}, apiVersion=f"credentialprovider.kubelet.k8s.io/{other}")
    found, complaints = await providers.logins("b.registry.test/x")
    assert (found, protocol in complaints[0]) == ([], True)


@pytest.mark.parametrize("version", ["v1", "v1beta1", "v1alpha1"])
def test_versions_of_the_file(plugin: Plugin, version: str) -> None:
    path = plugin.config()
    path.write_text(path.read_text().replace("kubelet.config.k8s.io/v1", f"kubelet.config.k8s.io/{version}"))
    (found,) = parse_provider_config(path.read_text(), "x")
    assert found.name == "tests-provider"
    with pytest.raises(InvalidInputError, match="apiVersion: one of"):
        parse_provider_config(path.read_text().replace(f"k8s.io/{version}", "k8s.io/v9", 1), "x")


async def test_many_pulls_at_once_ask_once(plugin: Plugin) -> None:
    plugin.answer({"*.registry.test": login("u")})
    providers = plugin.load(VirtualClock())
    answers = await asyncio.gather(*(providers.logins("a.registry.test/x") for _ in range(5)))
    assert [[each.username for each in found] for found, _ in answers] == [["u"]] * 5
    assert len(plugin.asked) == 1


@pytest.mark.parametrize(
    ("kind", "asked"),
    [("Image", ["a.registry.test/x", "a.registry.test/y", "b.registry.test/x"]), ("Registry", ["a.registry.test/x", "b.registry.test/x"]), ("Global", ["a.registry.test/x"])],
)  # fmt: skip
async def test_answers_are_kept_by_image_registry_or_all(plugin: Plugin, kind: str, asked: list[str]) -> None:
    plugin.answer({"*.registry.test": login("u")}, cacheKeyType=kind, cacheDuration="5m")
    clock = VirtualClock()
    providers = plugin.load(clock)
    for _ in range(2):
        for repository in ("a.registry.test/x", "a.registry.test/y", "b.registry.test/x"):
            assert [each.username for each in (await providers.logins(repository))[0]] == ["u"]
    assert [each[0]["image"] for each in plugin.asked] == asked
    await clock.advance(299)
    await providers.logins("a.registry.test/x")
    assert len(plugin.asked) == len(asked)
    await clock.advance(1)
    plugin.answer({"*.registry.test": login("renewed")}, cacheKeyType=kind)
    assert [each.username for each in (await providers.logins("a.registry.test/x"))[0]] == ["renewed"]


async def test_without_a_duration_the_file_s_holds_and_zero_keeps_nothing(plugin: Plugin) -> None:
    clock = VirtualClock()
    plugin.answer({"*.registry.test": login("u")})
    providers = plugin.load(clock)
    await providers.logins("a.registry.test/x")
    await clock.advance(599)
    await providers.logins("a.registry.test/x")
    assert len(plugin.asked) == 1
    await clock.advance(1)
    plugin.answer({"*.registry.test": login("u")}, cacheDuration="0s")
    await providers.logins("a.registry.test/x")
    await providers.logins("a.registry.test/x")
    assert len(plugin.asked) == 3


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("#!/bin/sh\nsleep 1000 & sleep 1000\n", "gave no answer within 0 s and was ended"),
        (f"#!/bin/sh\necho {WORD}\n", "bytes that are not JSON"),
        (f'#!/bin/sh\necho \'{{"kind": "{WORD}"}}\'\n', "not a CredentialProviderResponse"),
        ("#!/bin/sh\necho no rights >&2\nexit 4\n", "exited with 4: no rights"),
        ("not a program at all", "cannot be run"),
        (
            f'#!/bin/sh\necho \'{{"kind": "CredentialProviderResponse", "apiVersion": "{V1}", "cacheKeyType": "All"}}\'\n',
            "cacheKeyType that is none of",
        ),
        (
            '#!/bin/sh\necho \'{"kind": "CredentialProviderResponse", "apiVersion": "v9"}\'\n',
            "does not answer with apiVersion",
        ),
    ],
)
async def test_programs_that_misbehave(plugin: Plugin, script: str, words: str) -> None:
    plugin.script(script)
    providers = plugin.load(VirtualClock(), seconds=0.3 if "sleep" in script else 60.0)
    found, complaints = await providers.logins("a.registry.test/x")
    assert found == []
    assert words in complaints[0]
    assert WORD not in complaints[0]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"name": "a/b"}, r"providers\[0\]\.name"),
        ({"apiVersion": "v1"}, r"providers\[0\]\.apiVersion"),
        ({"matchImages": []}, r"providers\[0\]\.matchImages"),
        ({"defaultCacheDuration": None}, r"providers\[0\]\.defaultCacheDuration"),
        ({"defaultCacheDuration": "-1h"}, r"providers\[0\]\.defaultCacheDuration"),
        ({"tokenAttributes": {"serviceAccountTokenAudience": "x"}}, "no service account tokens here"),
        ({"name": "nowhere"}, "did not exist; put nowhere into"),
    ],
)
def test_files_that_are_refused(plugin: Plugin, more: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        load_providers(plugin.config(**more), plugin.directory)


def test_other_files_that_are_refused() -> None:
    for text, words in (("{", "not YAML"), ("kind: Pod", "must be CredentialProviderConfig")):
        with pytest.raises(InvalidInputError, match=words):
            parse_provider_config(text, "x")
    text = "kind: CredentialProviderConfig\napiVersion: kubelet.config.k8s.io/v1\nproviders: []"
    with pytest.raises(InvalidInputError, match="at least 1 item"):
        parse_provider_config(text, "x")


def test_durations() -> None:
    assert parse_duration("1h30m0.5s") == 5400.5
    assert parse_duration("150ms") == pytest.approx(0.15)
    for wrong in ("", "1", "1d", "-1h", None):
        with pytest.raises(ValueError, match="not a duration"):
            parse_duration(wrong)
