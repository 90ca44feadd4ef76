"""What every runtime must do: environment, users, mounts, volumes."""

from __future__ import annotations

from pathlib import Path

import images
import pytest
from images import Layer, build

from podbay.errors import ConflictError, InvalidInputError, StartError
from podbay.node.runtime import Runtime
from podbay.node.specs import (
    Capabilities,
    HostPath,
    ImageSource,
    Mount,
    Security,
    Tmpfs,
    User,
    VolumeFile,
    VolumeSource,
    VolumeSpec,
)
from pods import PodMaker

MIB = 1 << 20


async def test_environment(pods: PodMaker) -> None:
    env = [("A", "1"), ("EMPTY", ""), ("SPACE", "a b"), ("A", "2"), ("NEWLINE", "x\ny"), ("UTF8", "grün")]
    text = await pods.shell(
        'echo $A; echo [$EMPTY]; echo $SPACE; echo $FROM_IMAGE; echo "$NEWLINE"; echo $UTF8', env=env
    )
    assert text == "2\n[]\na b\nyes\nx\ny\ngrün\n"
    assert (
        await pods.shell("echo $HOSTNAME $HOME", sandbox=await pods.sandbox(hostname="box")) == "box /root\n"
    )


async def test_command_and_args(runtime: Runtime, pods: PodMaker, tmp_path: Path) -> None:
    built = build([images.busybox_layer()], {"Entrypoint": ["echo", "entry"], "Cmd": ["cmd"]})
    [image] = await runtime.load_images(built.archive(tmp_path / "entry.tar", "localhost/entry:1"))
    values = {"image": "localhost/entry:1", "image_id": image.id}
    assert await pods.run(**values) == (0, "entry cmd\n")
    assert await pods.run(args=["given"], **values) == (0, "entry given\n")
    assert await pods.run("echo", "mine", **values) == (0, "mine\n")
    assert await pods.run("echo", args=["a", "b"], **values) == (0, "a b\n")


async def test_working_directory_is_made(pods: PodMaker) -> None:
    assert await pods.shell("pwd", working_dir="/made/up") == "/made/up\n"


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        (User(), "0 0 0"),
        (User(uid=1234), "1234 0 0"),
        (User(uid=1000), "1000 1000 1000 50"),
        (User(uid=1000, merge_image_groups=False), "1000 1000 1000"),
        (User(uid=1234, gid=2345, groups=(77, 3456)), "1234 2345 2345 77 3456"),
        (User(name="app"), "1000 1000 1000 50"),
        (User(name="app:staff"), "1000 50 50"),
        (User(name="7:8"), "7 8 8"),
    ],
)
async def test_users(pods: PodMaker, user: User, expected: str) -> None:
    text = await pods.shell("echo $(id -u) $(id -g) $(id -G)", user=user)
    uid, gid, *groups = text.split()
    wanted_uid, wanted_gid, *wanted_groups = expected.split()
    assert (uid, gid, set(groups)) == (wanted_uid, wanted_gid, set(wanted_groups))


async def test_a_user_the_image_does_not_know(runtime: Runtime, pods: PodMaker) -> None:
    sandbox = await pods.sandbox()
    with pytest.raises(StartError, match="unable to find user ghost"):
        created = await runtime.create_container(sandbox.id, pods.spec("true", user=User(name="ghost")))
        await runtime.start_container(created.id)


async def test_read_only_root(pods: PodMaker) -> None:
    text = await pods.shell(
        "touch /x 2>&1; echo ok > /tmp/y && cat /tmp/y",
        security=Security(read_only_root=True),
        mounts=[Mount(source=Tmpfs(), target="/tmp")],
    )
    assert text == "touch: /x: Read-only file system\nok\n"


async def test_root_is_each_containers_own(pods: PodMaker) -> None:
    sandbox = await pods.sandbox()
    await pods.shell("echo mine > /x; rm /etc/nsswitch.conf", sandbox=sandbox, name="one")
    assert await pods.shell("ls /x 2>&1; cat /etc/nsswitch.conf", sandbox=sandbox, name="two") == (
        "ls: /x: No such file or directory\nhosts: files dns\n"
    )


async def test_tmpfs_with_a_size(pods: PodMaker) -> None:
    text = await pods.shell(
        "df -k /m | tail -1 | awk '{print $2}'; dd if=/dev/zero of=/m/f bs=1M count=2 2>/dev/null || echo full",
        mounts=[Mount(source=Tmpfs(size=MIB), target="/m")],
    )
    assert text == "1024\nfull\n"


async def test_volumes_are_shared_and_outlive_containers(runtime: Runtime, pods: PodMaker) -> None:
    await runtime.create_volume(VolumeSpec(name="u/shared"))
    await runtime.create_volume(VolumeSpec(name="u/shared"))
    mounts = [Mount(source=VolumeSource("u/shared"), target="/data")]
    sandbox = await pods.sandbox()
    await pods.shell("echo hello > /data/f", sandbox=sandbox, name="one", mounts=mounts)
    read_only = [Mount(source=VolumeSource("u/shared"), target="/in", read_only=True)]
    script = "cat /in/f; touch /in/g 2>&1"
    _, text = await pods.run("sh", "-c", script, sandbox=sandbox, name="two", mounts=read_only)
    assert text == "hello\ntouch: /in/g: Read-only file system\n"
    assert await runtime.volume_usage("u/shared") >= 6
    await runtime.remove_sandbox(sandbox.id)
    await runtime.remove_volume("u/shared")
    await runtime.remove_volume("u/shared")
    assert await runtime.volume_usage("u/shared") == 0


async def test_memory_volume(runtime: Runtime, pods: PodMaker) -> None:
    await runtime.create_volume(VolumeSpec(name="u/mem", memory=True, size_limit=MIB))
    mounts = [Mount(source=VolumeSource("u/mem"), target="/m")]
    text = await pods.shell("df -k /m | tail -1 | awk '{print $1,$2}'; stat -c %a /m", mounts=mounts)
    assert text == "tmpfs 1024\n777\n"


async def test_a_volume_belongs_to_its_group(runtime: Runtime, pods: PodMaker) -> None:
    await runtime.create_volume(VolumeSpec(name="u/group", group=3456))
    await runtime.write_volume("u/group", {"f": VolumeFile(b"x", 0o640)})
    script = "cat /v/f; echo y > /v/own; stat -c '%g %a' /v; stat -c %g /v/own; stat -L -c '%g %a' /v/f"
    text = await pods.shell(
        script,
        mounts=[Mount(source=VolumeSource("u/group"), target="/v")],
        user=User(uid=1234, groups=(3456,)),
    )
    assert text == "x3456 2777\n3456\n3456 640\n"


async def test_written_volumes_change_in_one_step(runtime: Runtime, pods: PodMaker) -> None:
    await runtime.create_volume(VolumeSpec(name="u/conf"))
    await runtime.write_volume("u/conf", {"a": VolumeFile(b"1"), "dir/b": VolumeFile(b"1", 0o400)})
    mounts = [Mount(source=VolumeSource("u/conf"), target="/c", read_only=True)]
    started = await pods.start("sleep", "100", mounts=mounts)
    show = ("sh", "-c", "cat /c/a /c/dir/b; ls /c; stat -L -c %a /c/dir/b; ls -l /c/a | cut -c1-10")
    assert (await pods.exec(started.id, *show)).stdout == "11a\ndir\n400\nlrwxrwxrwx\n"
    await runtime.write_volume("u/conf", {"a": VolumeFile(b"2"), "new": VolumeFile(b"n")})
    assert (await pods.exec(started.id, "sh", "-c", "cat /c/a /c/new; ls /c")).stdout == "2na\nnew\n"
    await runtime.write_volume("u/conf", {})
    assert (await pods.exec(started.id, "ls", "/c")).stdout == ""


@pytest.mark.parametrize("name", ["../x", "a/../b", "/abs", "", "..data", "..x/y"])
async def test_volume_files_stay_inside(runtime: Runtime, name: str) -> None:
    await runtime.create_volume(VolumeSpec(name="u/inside"))
    with pytest.raises(InvalidInputError):
        await runtime.write_volume("u/inside", {name: VolumeFile(b"x")})


async def test_sub_paths(runtime: Runtime, pods: PodMaker) -> None:
    await runtime.create_volume(VolumeSpec(name="u/sub"))
    whole = Mount(source=VolumeSource("u/sub"), target="/v")
    await pods.shell("mkdir -p /v/a/b; echo deep > /v/a/b/f; echo top > /v/file", mounts=[whole])
    mounts = [
        Mount(source=VolumeSource("u/sub"), target="/one", sub_path="a/b"),
        Mount(source=VolumeSource("u/sub"), target="/etc/single", sub_path="file"),
        Mount(source=VolumeSource("u/sub"), target="/new", sub_path="made/here"),
    ]
    assert await pods.shell("cat /one/f /etc/single; touch /new/x", mounts=mounts) == "deep\ntop\n"
    assert await pods.shell("ls /v/made/here", mounts=[whole]) == "x\n"


async def test_sub_paths_do_not_lead_out(runtime: Runtime, pods: PodMaker) -> None:
    await runtime.create_volume(VolumeSpec(name="u/out"))
    volume = VolumeSource("u/out")
    await pods.shell(
        "ln -s /etc /v/link; ln -s ../../../../etc /v/up", mounts=[Mount(source=volume, target="/v")]
    )
    sandbox = await pods.sandbox()
    for number, path in enumerate(("../x", "/etc", "a/../../b")):
        spec = pods.spec(
            "true", name=f"bad{number}", mounts=[Mount(source=volume, target="/v", sub_path=path)]
        )
        with pytest.raises(StartError):
            await runtime.create_container(sandbox.id, spec)
    for number, path in enumerate(("link", "up")):
        mounts = [Mount(source=volume, target="/v", sub_path=path)]
        try:
            code, text = await pods.run("ls", "/v", sandbox=sandbox, name=f"link{number}", mounts=mounts)
        except StartError:
            continue
        # Followed inside the volume, where there is nothing of that name.
        assert (code, text) == (0, "")


async def test_host_paths(runtime: Runtime, pods: PodMaker, tmp_path: Path) -> None:
    if not (await runtime.info()).features.host_paths:
        pytest.skip("no host paths here")
    (tmp_path / "f").write_text("from outside\n")
    mounts = [Mount(source=HostPath(str(tmp_path)), target="/h")]
    assert await pods.shell("cat /h/f; echo back > /h/g", mounts=mounts) == "from outside\n"
    assert (tmp_path / "g").read_text() == "back\n"
    sandbox = await pods.sandbox()
    missing = [Mount(source=HostPath(str(tmp_path / "missing")), target="/h")]
    with pytest.raises(StartError):
        created = await runtime.create_container(sandbox.id, pods.spec("true", mounts=missing))
        await runtime.start_container(created.id)


async def test_mounts_inside_mounts(runtime: Runtime, pods: PodMaker) -> None:
    for name in ("u/outer", "u/inner"):
        await runtime.create_volume(VolumeSpec(name=name))
    mounts = [
        Mount(source=VolumeSource("u/inner"), target="/a/b"),
        Mount(source=VolumeSource("u/outer"), target="/a"),
    ]
    await pods.shell("touch /a/b/in /a/out", mounts=mounts)
    assert await pods.shell("ls /x", mounts=[Mount(source=VolumeSource("u/inner"), target="/x")]) == "in\n"


async def test_image_volume(runtime: Runtime, pods: PodMaker, tmp_path: Path) -> None:
    built = build([Layer().directory("data").add("data/f", "packed\n"), Layer().add("g", "two\n")])
    [image] = await runtime.load_images(built.archive(tmp_path / "data.tar", "localhost/data:1"))
    mounts = [Mount(source=ImageSource(image.id), target="/i")]
    try:
        code, text = await pods.run("sh", "-c", "cat /i/data/f /i/g; touch /i/x 2>&1", mounts=mounts)
    except StartError as error:
        pytest.skip(f"no image volumes here: {error}")
    assert code == 1
    assert text.startswith("packed\ntwo\n")
    assert "Read-only file system" in text


# Confinement


async def _effective(pods: PodMaker, **security: object) -> int:
    text = await pods.shell("grep CapEff /proc/self/status", security=Security(**security))  # type: ignore[arg-type]
    return int(text.split()[1], 16)


async def test_capabilities(pods: PodMaker) -> None:
    default = await _effective(pods)
    assert default == 0x00000000A80425FB  # Docker's default
    assert await _effective(pods, capabilities=Capabilities(drop=["ALL"])) == 0
    assert await _effective(pods, capabilities=Capabilities(add=["NET_ADMIN"])) == default | 1 << 12
    assert await _effective(pods, capabilities=Capabilities(drop=["ALL"], add=["CHOWN"])) == 1
    assert await _effective(pods, privileged=True) > default


async def test_no_new_privileges(pods: PodMaker) -> None:
    script = "grep NoNewPrivs /proc/self/status"
    assert (await pods.shell(script)).split()[1] == "0"
    assert (await pods.shell(script, security=Security(no_new_privileges=True))).split()[1] == "1"


async def test_system_calls_are_filtered(runtime: Runtime, pods: PodMaker) -> None:
    if not (await runtime.info()).features.seccomp:
        pytest.skip("no seccomp here")
    script = "grep Seccomp: /proc/self/status | cut -f2; unshare -U true 2>&1"
    code, text = await pods.run("sh", "-c", script)
    assert text.startswith("2\n")
    assert code != 0
    assert "Operation not permitted" in text
    code, text = await pods.run("sh", "-c", script, security=Security(seccomp="unconfined"))
    assert (code, text) == (0, "0\n")


async def test_a_profile_of_ones_own(runtime: Runtime, pods: PodMaker) -> None:
    if not (await runtime.info()).features.seccomp:
        pytest.skip("no seccomp here")
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}],
    }
    code, text = await pods.run("sh", "-c", "mkdir /x 2>&1", security=Security(seccomp=profile))
    assert code != 0
    assert "No space left on device" in text


async def test_masked_and_read_only_paths(pods: PodMaker) -> None:
    script = (
        "head -c 1 /proc/kcore | wc -c; ls /sys/firmware | wc -l; echo 1 > /proc/sys/kernel/panic || echo no"
    )
    assert await pods.shell(f"{{ {script}; }} 2>/dev/null") == "0\n0\nno\n"


async def test_devices(pods: PodMaker) -> None:
    text = await pods.shell(
        "head -c 4 /dev/zero | wc -c; echo x > /dev/null; head -c 3 /dev/urandom | wc -c; ls /dev/fd/0"
    )
    assert text.split()[:2] == ["4", "3"]
    code, _ = await pods.run("sh", "-c", "mknod /tmp/k c 1 2 && head -c 1 /tmp/k")
    assert code != 0  # making the node of kernel memory is allowed, opening it is not


async def test_shared_memory_is_the_pods(pods: PodMaker) -> None:
    sandbox = await pods.sandbox()
    await pods.shell("echo shared > /dev/shm/f", sandbox=sandbox, name="one")
    assert await pods.shell("cat /dev/shm/f", sandbox=sandbox, name="two") == "shared\n"


# Images


async def test_loaded_images(runtime: Runtime, tmp_path: Path) -> None:
    found = await runtime.find_image("localhost/bb:1")
    assert found is not None
    assert found.architecture == images.ARCHITECTURE
    assert list(found.config.command) == ["sh"]
    assert "FROM_IMAGE=yes" in found.config.env
    assert found.size > 1_000_000
    assert found.id in [image.id for image in await runtime.images()]
    assert await runtime.find_image("localhost/nothing:1") is None
    again = await runtime.load_images(images.busybox().archive(tmp_path / "again.tar", "localhost/bb:1"))
    assert [image.id for image in again] == [found.id]


async def test_an_image_of_another_architecture_is_refused(runtime: Runtime, tmp_path: Path) -> None:
    foreign = build([Layer().add("f", "x")], architecture="s390x")
    with pytest.raises(InvalidInputError, match=f"linux/s390x.*linux/{images.ARCHITECTURE}"):
        await runtime.load_images(foreign.archive(tmp_path / "foreign.tar", "localhost/foreign:1"))
    assert await runtime.find_image("localhost/foreign:1") is None


async def test_removing_images(runtime: Runtime, pods: PodMaker, tmp_path: Path) -> None:
    built = build([images.busybox_layer(), Layer().add("own", "x")], {"Cmd": ["sleep", "100"]})
    [image] = await runtime.load_images(built.archive(tmp_path / "gone.tar", "localhost/gone:1"))
    started = await pods.start(image="localhost/gone:1", image_id=image.id)
    with pytest.raises(ConflictError):
        await runtime.remove_image(image.id)
    await runtime.remove_container(started.id)
    await runtime.remove_image(image.id)
    await runtime.remove_image(image.id)
    assert await runtime.find_image("localhost/gone:1") is None
    # The layers it shared with another image are still there.
    assert await pods.shell("echo fine") == "fine\n"


async def test_files_that_are_no_images(runtime: Runtime, tmp_path: Path) -> None:
    (tmp_path / "noise.tar").write_bytes(b"noise" * 1000)
    for name in ("noise.tar", "missing.tar"):
        with pytest.raises(InvalidInputError, match=name):
            await runtime.load_images(tmp_path / name)
