"""The texts a device is made of: pure functions, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One line of passwd. `group`: None means the number of the user. `password`: a crypt(3) hash, "*" for none."""

    name: str
    uid: int
    home: str
    login_shell: str
    group: int | None = None
    password: str = "*"  # noqa: S105

    @property
    def gid(self) -> int:
        return self.uid if self.group is None else self.group


def passwd(accounts: tuple[Account, ...]) -> str:
    return "".join(f"{one.name}:x:{one.uid}:{one.gid}::{one.home}:{one.login_shell}\n" for one in accounts)


def shadow(accounts: tuple[Account, ...]) -> str:
    return "".join(f"{one.name}:{one.password}:20000:0:99999:7:::\n" for one in accounts)


def group(groups: Mapping[str, tuple[int, tuple[str, ...]]]) -> str:
    """`groups`: name -> (gid, names of members)."""
    return "".join(f"{name}:x:{gid}:{','.join(members)}\n" for name, (gid, members) in groups.items())


def gshadow(groups: Mapping[str, tuple[int, tuple[str, ...]]]) -> str:
    return "".join(f"{name}:!::{','.join(members)}\n" for name, (_, members) in groups.items())


NSSWITCH = "passwd: files\ngroup: files\nshadow: files\ngshadow: files\nhosts: files dns\n"
"""Whatever directory service the machine asks: the device knows its own accounts only."""

PAM = "".join(f"{kind} required pam_unix.so\n" for kind in ("auth", "account", "password", "session"))
"""For every program; sudo is the one that asks."""


def hosts(hostname: str) -> str:
    """Without the host's own name sudo asks the name servers for it, and waits for them."""
    return f"127.0.0.1 localhost {hostname}\n::1 localhost ip6-localhost\n"


def sudoers(lines: str) -> str:
    """Debian's defaults and the login user's lines."""
    return (
        "Defaults env_reset\n"
        "Defaults !syslog\n"
        'Defaults secure_path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"\n'
        "Defaults use_pty\n"
        "root ALL=(ALL:ALL) ALL\n"
        f"{lines.rstrip()}\n"
        "@includedir /etc/sudoers.d\n"
    )


def sshd_config(
    *,
    addresses: tuple[str, ...],
    port: int,
    user: str,
    directory: PurePath,
    password: bool,
    strict_modes: bool,
    forwarding: bool = True,
) -> str:
    """`directory` holds the server's key and the authorized keys. `forwarding`: it connects to sockets for users."""
    return "\n".join(
        (
            f"Port {port}",
            *(f"ListenAddress {address}" for address in addresses),
            f"HostKey {directory}/ssh_host_ed25519_key",
            "PidFile none",
            "LogLevel VERBOSE",
            "UsePAM no",
            "KbdInteractiveAuthentication no",
            f"PasswordAuthentication {'yes' if password else 'no'}",
            "PubkeyAuthentication yes",
            f"AuthorizedKeysFile {directory}/authorized_keys",
            f"StrictModes {'yes' if strict_modes else 'no'}",
            f"PermitRootLogin {('yes' if password else 'prohibit-password') if user == 'root' else 'no'}",
            f"AllowUsers {user}",
            "PrintMotd no",
            *(() if forwarding else ("AllowStreamLocalForwarding no",)),
            "Subsystem sftp internal-sftp",
            "",
        )
    )


def haproxy_config(*, status_port: int, socket: PurePath, own_user: bool) -> str:
    """What an administrator could have written: along the lines of Debian's file, and a page of his own.

    `own_user`: drop root's rights as Debian's file does; an HAProxy not started by root cannot.
    """
    rights = "    chroot /var/lib/haproxy\n    user haproxy\n    group haproxy\n" if own_user else ""
    return f"""\
# Written by hand by the administrator of this device. The balancer adds its own part
# behind it and leaves every byte of this one as it is.
global
    log stdout format raw local0
    stats socket {socket} mode 660 level admin
    stats timeout 30s
{rights}
defaults
    log global
    mode http
    option httplog
    option dontlognull
    option idle-close-on-response
    timeout connect 5s
    timeout client 50s
    timeout server 50s

# A page of the administrator's own, which has to keep answering whatever the balancer does.
listen status-page
    bind 127.0.0.1:{status_port}
    monitor-uri /alive
    http-request return status 200 content-type text/plain string "hand-written page\\n"
"""
