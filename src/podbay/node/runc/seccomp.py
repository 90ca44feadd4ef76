"""The default seccomp profile, equal in effect to Docker's, and profiles in Docker's JSON form made into OCI ones.

What is allowed is data; what a profile's conditions mean is `resolve`. Pure. Sources: the documentation of Docker's
default profile (docs.docker.com/engine/security/seccomp) and its tables in moby/profiles; runtime-spec config-linux.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from podbay.errors import StartError

__all__ = ["default_profile", "resolve"]

_ALLOWED = """
accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown chown32
clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64
clock_nanosleep clock_nanosleep_time64 close close_range connect copy_file_range creat dup dup2 dup3
epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old
eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate
fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr
flistxattr flock fork fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate
ftruncate64 futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake futimesat get_robust_list
get_thread_area getcpu getcwd getdents getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32
getgroups getgroups32 getitimer getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid
getresgid32 getresuid getresuid32 getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday
getuid getuid32 getxattr getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel
io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit ioctl ioprio_get ioprio_set
ipc kill landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown lchown32 lgetxattr link
linkat listen listmount listxattr listxattrat llistxattr _llseek lremovexattr lseek lsetxattr lstat lstat64
madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat mlock
mlock2 mlockall mmap mmap2 mprotect mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64
mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync munlock munlockall
munmap name_to_handle_at nanosleep newfstatat _newselect open openat openat2 pause pidfd_open
pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll ppoll_time64 prctl pread64 preadv
preadv2 prlimit64 process_mrelease pselect6 pselect6_time64 pwrite64 pwritev pwritev2 read readahead readlink
readlinkat readv recv recvfrom recvmmsg recvmmsg_time64 recvmsg remap_file_pages removexattr removexattrat
rename renameat renameat2 restart_syscall rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask
rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo
sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam
sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr
sched_setparam sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop
semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg sendto set_robust_list set_thread_area
set_tid_address setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setitimer
setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32
setrlimit setsid setsockopt setuid setuid32 setxattr setxattrat shmat shmctl shmdt shmget shutdown
sigaltstack signalfd signalfd4 sigprocmask sigreturn socketcall socketpair splice stat stat64 statfs
statfs64 statmount statx symlink symlinkat sync sync_file_range syncfs sysinfo tee tgkill time timer_create
timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create
timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times tkill truncate truncate64
ugetrlimit umask uname unlink unlinkat uretprobe utime utimensat utimensat_time64 utimes vfork vmsplice
wait4 waitid waitpid write writev
process_vm_readv process_vm_writev ptrace
"""
"""Allowed for all. The last line needs Linux 4.8, older than any kernel this project supports."""

_ALLOWED_BY_ARCHITECTURE = {
    "amd64": "arch_prctl modify_ldt",
    "386": "modify_ldt",
    "arm64": "arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls sync_file_range2",
    "arm": "arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls sync_file_range2",
    "ppc64le": "swapcontext sync_file_range2",
    "riscv64": "riscv_flush_icache riscv_hwprobe",
    "s390x": "s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr",
}

_ALLOWED_BY_CAPABILITY = {
    "CAP_BPF": "bpf",
    "CAP_DAC_READ_SEARCH": "open_by_handle_at",
    "CAP_PERFMON": "perf_event_open",
    "CAP_SYSLOG": "syslog",
    "CAP_SYS_ADMIN": (
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount mount_setattr "
        "move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog umount "
        "umount2 unshare"
    ),
    "CAP_SYS_BOOT": "reboot",
    "CAP_SYS_CHROOT": "chroot",
    "CAP_SYS_MODULE": "delete_module finit_module init_module",
    "CAP_SYS_NICE": "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    "CAP_SYS_PACCT": "acct",
    "CAP_SYS_PTRACE": "kcmp pidfd_getfd process_madvise",
    "CAP_SYS_RAWIO": "ioperm iopl",
    "CAP_SYS_TIME": "clock_settime clock_settime64 settimeofday stime",
    "CAP_SYS_TTY_CONFIG": "vhangup",
}

_NEW_NAMESPACES = 0x7E020000
"""The clone flags that make namespaces: mount, cgroup, uts, ipc, user, pid, net."""
_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)
_AF_VSOCK = 40
_EPERM = 1
_ENOSYS = 38

_ARCHITECTURES = {
    "amd64": ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"),
    "386": ("SCMP_ARCH_X86",),
    "arm64": ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
    "arm": ("SCMP_ARCH_ARM",),
    "ppc64le": ("SCMP_ARCH_PPC64LE",),
    "riscv64": ("SCMP_ARCH_RISCV64",),
    "s390x": ("SCMP_ARCH_S390X", "SCMP_ARCH_S390"),
}


def default_profile(architecture: str, capabilities: Iterable[str]) -> dict[str, Any]:
    """The `linux.seccomp` of a container with these capabilities (names with CAP_) on this architecture."""
    held = set(capabilities)
    rules = [_allow(_ALLOWED), _allow(_ALLOWED_BY_ARCHITECTURE.get(architecture, ""))]
    rules += [_allow(names) for capability, names in _ALLOWED_BY_CAPABILITY.items() if capability in held]
    rules += [_allow("personality", _argument(0, value)) for value in _PERSONALITIES]
    rules.append(_allow("socket", _argument(0, _AF_VSOCK, op="SCMP_CMP_NE")))
    if "CAP_SYS_ADMIN" not in held:
        # On s390x the flags are clone's second argument.
        flags = 1 if architecture == "s390x" else 0
        rules.append(_allow("clone", _argument(flags, _NEW_NAMESPACES, op="SCMP_CMP_MASKED_EQ")))
        # Its flags are behind a pointer no filter can follow; libraries fall back to clone.
        rules.append({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": _ENOSYS})
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": _EPERM,
        "architectures": list(_ARCHITECTURES.get(architecture, ())),
        "syscalls": [rule for rule in rules if rule["names"]],
    }


def resolve(
    profile: Mapping[str, Any], architecture: str, capabilities: Iterable[str], kernel: tuple[int, int]
) -> dict[str, Any]:
    """A profile in Docker's JSON form with its conditions decided. StartError when it is not one."""
    if not isinstance(profile.get("defaultAction"), str):
        raise StartError("CreateContainerError", "the seccomp profile has no defaultAction")
    held = set(capabilities)
    resolved = {key: profile[key] for key in ("defaultAction", "defaultErrnoRet", "flags") if key in profile}
    resolved["architectures"] = list(profile.get("architectures") or _mapped(profile, architecture))
    resolved["syscalls"] = [
        _plain(rule) for rule in profile.get("syscalls") or () if _applies(rule, architecture, held, kernel)
    ]
    return resolved


def _allow(names: str, argument: Mapping[str, Any] | None = None) -> dict[str, Any]:
    rule: dict[str, Any] = {"names": names.split(), "action": "SCMP_ACT_ALLOW"}
    if argument is not None:
        rule["args"] = [argument]
    return rule


def _argument(index: int, value: int, *, op: str = "SCMP_CMP_EQ") -> dict[str, Any]:
    return {"index": index, "value": value, "valueTwo": 0, "op": op}


def _mapped(profile: Mapping[str, Any], architecture: str) -> Sequence[str]:
    names = _ARCHITECTURES.get(architecture, ())
    for entry in profile.get("archMap") or ():
        if names and entry.get("architecture") == names[0]:
            return [names[0], *(entry.get("subArchitectures") or ())]
    return ()


def _applies(rule: Mapping[str, Any], architecture: str, held: set[str], kernel: tuple[int, int]) -> bool:
    include, exclude = rule.get("includes") or {}, rule.get("excludes") or {}
    if include.get("arches") and architecture not in include["arches"]:
        return False
    if not set(include.get("caps") or ()) <= held:
        return False
    if include.get("minKernel") and kernel < _version(include["minKernel"]):
        return False
    if architecture in (exclude.get("arches") or ()) or held & set(exclude.get("caps") or ()):
        return False
    return not (exclude.get("minKernel") and kernel >= _version(exclude["minKernel"]))


def _version(text: str) -> tuple[int, int]:
    major, _, minor = str(text).partition(".")
    return int(major), int(minor or 0)


def _plain(rule: Mapping[str, Any]) -> dict[str, Any]:
    plain = {key: rule[key] for key in ("action", "errnoRet", "args") if rule.get(key) is not None}
    plain["names"] = list(rule.get("names") or [rule["name"]])
    return plain
