"""SSH to devices: the only module that knows paramiko.

One warm connection per device. The lease sees to it that one thread at a time uses a device.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import io
import ipaddress
import logging
import math
import os
import re
import shlex
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import paramiko
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from balancer.core.model import Credential, Endpoint, Sealed
from balancer.exceptions import DeviceError, TerminalDeviceError, TransientDeviceError

LOG = logging.getLogger(__name__)
# paramiko logs as errors what is raised here with a better sentence.
_PARAMIKO_LOG = f"{__name__}.paramiko"
logging.getLogger(_PARAMIKO_LOG).setLevel(logging.CRITICAL)

_KEEPALIVE = 15
_CHUNK = 65536
# One answer of a device; a configuration of 5000 load balancers has 2 MB.
_MAX_OUTPUT = 64 * 1024 * 1024
_FAST_CIPHER = "aes256-gcm@openssh.com"
_STREAM_KIND = "direct-streamlocal@openssh.com"
# CHANNEL_OPEN, and the kind with its length.
_OPEN_STREAM = bytes([90]) + len(_STREAM_KIND).to_bytes(4, "big") + _STREAM_KIND.encode()
_RSA = ("rsa-sha2-512", "rsa-sha2-256")
# Seconds that a server may take to see that a session has ended, from its first refusal on.
_ROOM_TIMEOUT, _ROOM_POLL = 5.0, 0.02


class ForwardingRefused(TransientDeviceError):
    """The device has no such socket, or its SSH server does not connect to sockets for this user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    rc: int
    stdout: bytes
    stderr: bytes


class _Socket:
    """A TCP socket without the waits of Nagle and of delayed acknowledgements, which paramiko leaves on."""

    def __init__(self, inner: socket.socket) -> None:
        self._inner = inner
        inner.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def recv(self, size: int) -> bytes:
        data = self._inner.recv(size)
        # The kernel forgets it after each acknowledgement.
        self._inner.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class _Transport(paramiko.Transport):
    """Adds channels to UNIX sockets, an extension of OpenSSH that paramiko does not have."""

    def __init__(self, sock: Any) -> None:
        super().__init__(sock)
        self._stream_path: str | None = None

    def open_stream(self, path: str, timeout: float) -> paramiko.Channel:
        self._stream_path = path
        try:
            return self.open_channel(_STREAM_KIND, timeout=timeout)
        finally:
            self._stream_path = None

    def _send_user_message(self, data: Any) -> None:
        # Another thread may open a session at this moment, whose message must stay as it is.
        if self._stream_path is not None and data.asbytes().startswith(_OPEN_STREAM):
            data.add_string(self._stream_path)
            data.add_string("")
            data.add_int(0)
            self._stream_path = None
        super()._send_user_message(data)  # type: ignore[misc]


# --- keys --------------------------------------------------------------------


def public_key_line(key: paramiko.PKey) -> str:
    return f"{key.get_name()} {key.get_base64()}"


def fingerprint(line: str) -> str:
    """``ssh-ed25519 SHA256:…`` of a ``type base64 comment`` line, as ssh-keygen -l shows it."""
    kind, blob = _key_words(line)
    digest = base64.b64encode(hashlib.sha256(base64.b64decode(blob)).digest()).decode().rstrip("=")
    return f"{kind} SHA256:{digest}"


def _key_words(line: str) -> tuple[str, str]:
    """Type and base64 of a public key line. Raises `ValueError`."""
    words = line.split()
    if len(words) < 2:
        raise ValueError("a host key has the form `ssh-ed25519 AAAA…`")
    raw = base64.b64decode(words[1], validate=True)
    length = int.from_bytes(raw[:4], "big")
    if raw[4 : 4 + length] != words[0].encode():
        raise ValueError(f"the host key is not of the type {words[0]}")
    return words[0], words[1]


def normal_host_key(line: str) -> str:
    """The line without its comment. Raises `ValueError` when it is none."""
    return " ".join(_key_words(line))


def new_key_pair() -> tuple[str, str]:
    """An Ed25519 key for logging in: the text of its private file, and ``ssh-ed25519 AAAA…``."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
    return private, key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def authorized_keys_line(public: str, comment: str, *, source: str | None = None) -> str:
    """The line that lets a device be managed with the key: commands and channels to sockets, no terminal, agent or X11.

    `source`: the addresses or networks from where, with commas between them. Raises `ValueError`.
    """
    if not re.fullmatch(r"[A-Za-z0-9_.@:+ -]{1,64}", comment):
        raise ValueError("the comment may have up to 64 letters, digits and _ . @ : + -")
    options = "restrict,port-forwarding"
    if source is not None:
        networks = [str(ipaddress.ip_network(each.strip())) for each in source.split(",")]
        options += f',from="{",".join(networks)}"'
    return f"{options} {public} {comment}"


@functools.lru_cache(maxsize=256)
def _private_key(text: str) -> paramiko.PKey:
    """Cached: loading an RSA key costs a tenth of a second. Raises `TerminalDeviceError`."""
    for kind in (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey):
        try:
            return kind.from_private_key(io.StringIO(text))
        except paramiko.PasswordRequiredException:
            raise TerminalDeviceError("the private key is protected by a passphrase: give one without") from None
        except (paramiko.SSHException, ValueError, IndexError, UnicodeDecodeError):
            continue
    raise TerminalDeviceError("the private key is none that is understood: give an Ed25519, ECDSA or RSA key")


def check_private_key(text: str) -> None:
    """Raises `TerminalDeviceError` when the text is no key that can be used."""
    _private_key(text)


def _load_key(credential: Credential) -> paramiko.PKey:
    if credential.private_key is not None:
        return _private_key(credential.private_key)
    path = os.path.expanduser(credential.key_filename or "")
    try:
        with open(path, encoding="utf-8", errors="replace") as opened:
            return _private_key(opened.read())
    except OSError as error:
        raise TerminalDeviceError(f"the key file {path} cannot be read: {error.strerror}") from None


# --- one connection ----------------------------------------------------------


class Session:
    """A remote command that is talked to: write to its standard input, read its lines."""

    def __init__(self, channel: paramiko.Channel, where: str, deadline: float) -> None:
        self._channel = channel
        self._where = where
        self._deadline = deadline
        self._buffer = b""
        self.waits = math.isinf(deadline)
        """Whether it may be ended to make room: nothing was begun with it."""

    def begin_again(self, timeout: float) -> bool:
        """It must end within so many seconds from now. Whether it still runs."""
        self.waits = False
        self._deadline = time.monotonic() + timeout
        return not self._channel.closed and not self._channel.exit_status_ready()

    def write(self, data: bytes) -> None:
        with _translated(self._where):
            self._remaining()
            self._channel.sendall(data)

    def readline(self) -> bytes:
        """The next line without its LF; b"" when the command has ended."""
        with _translated(self._where):
            while b"\n" not in self._buffer:
                self._remaining()
                data = self._channel.recv(_CHUNK)
                if not data:
                    line, self._buffer = self._buffer, b""
                    return line
                self._buffer += data
                if len(self._buffer) > _MAX_OUTPUT:
                    raise TerminalDeviceError(f"{self._where}: the answer is too long")
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def finish(self) -> Completed:
        """Ends the input, reads what is left and waits for the end."""
        with _translated(self._where):
            self._channel.shutdown_write()
            out, err = [self._buffer], []
            while data := self._receive(self._channel.recv):
                out.append(data)
            while data := self._receive(self._channel.recv_stderr):
                err.append(data)
            if not self._channel.status_event.wait(self._remaining()):
                raise TimeoutError
            rc = self._channel.recv_exit_status()
        self.close()
        return Completed(rc=rc, stdout=b"".join(out), stderr=b"".join(err))

    @property
    def closed(self) -> bool:
        return self._channel.closed

    def close(self) -> None:
        """Ends the channel; a command that is still running sees the end of its input."""
        self._channel.close()

    def _receive(self, receive: Callable[[int], bytes]) -> bytes:
        self._remaining()
        return receive(_CHUNK)

    def _remaining(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._channel.settimeout(left)
        return left


class Stream:
    """A channel to a UNIX socket of the device."""

    def __init__(self, channel: paramiko.Channel, where: str, timeout: float) -> None:
        self._channel = channel
        self._where = where
        channel.settimeout(timeout)

    def ask(self, command: str) -> str:
        """One command line; everything the other side says until it closes."""
        with _translated(self._where):
            self._channel.sendall(command.encode() + b"\n")
            # The master socket of older HAProxies closes only after this.
            self._channel.shutdown_write()
            parts, size = [], 0
            while data := self._channel.recv(_CHUNK):
                parts.append(data)
                size += len(data)
                if size > _MAX_OUTPUT:
                    raise TerminalDeviceError(f"{self._where}: the answer is too long")
        return b"".join(parts).decode("utf-8", "replace")

    def write(self, data: bytes) -> None:
        with _translated(self._where):
            self._channel.sendall(data)

    def read(self) -> bytes:
        """What has arrived, at least one byte; b"" when the other side has closed."""
        with _translated(self._where):
            return self._channel.recv(_CHUNK)

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Connection:
    """To one device. Opens itself when first used, and once more when it turns out to have died meanwhile.

    `host_key` is the server's key line after a connection was made, `address` the IP address that it was made to. Every
    method raises `TransientDeviceError` or `TerminalDeviceError` with a sentence that says host, port and what
    happened.
    """

    def __init__(self, endpoint: Endpoint, *, connect_timeout: float) -> None:
        self.endpoint = endpoint
        self.host_key: str | None = None
        self.address: str | None = None
        self._connect_timeout = connect_timeout
        self._transport: _Transport | None = None
        self._forwards = False
        # The session that waits, whether one is about to, and whether the server has room for one.
        self._further: weakref.ref[Session] | None = None
        self._opening = False
        self._roomy = True
        # The other sessions, as long as they are not closed.
        self._begun: tuple[weakref.ref[paramiko.Channel], ...] = ()

    @property
    def where(self) -> str:
        host = f"[{self.endpoint.host}]" if ":" in self.endpoint.host else self.endpoint.host
        return f"{host}:{self.endpoint.port}"

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float) -> Completed:
        """Runs a command to its end; `timeout` in seconds."""
        session = self.session(argv, timeout=timeout)
        try:
            if stdin:
                session.write(stdin)
            return session.finish()
        finally:
            session.close()

    def session(self, argv: Sequence[str], *, timeout: float) -> Session:
        """Starts a command to talk to; it must end within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        channel = self._session_channel()
        with _translated(self.where):
            channel.settimeout(max(0.1, deadline - time.monotonic()))
            channel.exec_command(shlex.join(argv))
        return Session(channel, self.where, deadline)

    def further_session(self, argv: Sequence[str]) -> Session | None:
        """Starts a command over the connection that there is, beside whatever another thread does with it; None without
        one, and on servers that were seen to let few run at a time. It has no end until `Session.begin_again` sets one;
        before that it gives way to others."""
        transport = self._transport
        if transport is None or not transport.is_active() or not self._roomy:
            return None
        self._opening = True
        try:
            with _translated(self.where):
                channel = transport.open_session(timeout=self._connect_timeout)
                session = Session(channel, self.where, math.inf)
                self._further = weakref.ref(session)
                channel.settimeout(self._connect_timeout)
                channel.exec_command(shlex.join(argv))
            return session
        finally:
            self._opening = False

    def stream(self, path: str, *, timeout: float) -> Stream:
        """A channel to a UNIX socket of the device; through socat there when the server itself does not connect to
        sockets. Raises `ForwardingRefused` when neither does."""
        try:
            channel = self._channel(lambda transport: transport.open_stream(path, self._connect_timeout))
            self._forwards = True
        except _ChannelRefused as error:
            if not self._by_socat(path):
                raise ForwardingRefused(
                    f"{self.where}: the SSH server does not connect to {path} ({error}). Is HAProxy running and may "
                    "the login user use that socket? The server needs AllowStreamLocalForwarding yes, a key with "
                    "`restrict` needs `port-forwarding` too; without that the device needs socat"
                ) from None
            channel = self._session_channel()
            with _translated(self.where):
                channel.settimeout(timeout)
                # What the other side says may come half a minute after we have said everything.
                channel.exec_command(shlex.join(["socat", "-t30", "STDIO", f"UNIX-CONNECT:{path}"]))
        return Stream(channel, self.where, timeout)

    def _by_socat(self, path: str) -> bool:
        """Whether socat gets there. The server says the same of a missing socket and of a forbidden channel, so this
        is not asked where it was seen to open channels."""
        if self._forwards:
            return False
        argv = ["socat", "-u", "OPEN:/dev/null", f"UNIX-CONNECT:{path}"]
        return self.run(argv, timeout=self._connect_timeout).rc == 0

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def _session_channel(self) -> paramiko.Channel:
        deadline: float | None = None
        while True:
            try:
                channel = self._channel(lambda transport: transport.open_session(timeout=self._connect_timeout))
            except _ChannelRefused as error:
                deadline = deadline or time.monotonic() + _ROOM_TIMEOUT
                if not self._make_room() or time.monotonic() > deadline:
                    raise TransientDeviceError(
                        f"{self.where}: the SSH server opens no session ({error}): raise MaxSessions in its sshd_config"
                    ) from None
            else:
                self._begun = (*filter(_is_open, self._begun), weakref.ref(channel))
                return channel
            time.sleep(_ROOM_POLL)

    def _make_room(self) -> bool:
        """Whether the server may still count a session that has ended, or that is about to end because it only waited.
        From now on none waits."""
        further = self._further() if self._further is not None else None
        if further is not None and further.waits:
            further.close()
            self._roomy = False
        running = further is not None and not further.closed
        # It reads the end of a session and the beginning of the next in one go, and forgets the ended one after that.
        return self._opening or not self._roomy or not (running or any(map(_is_open, self._begun)))

    def _channel(self, open_on: Callable[[_Transport], paramiko.Channel]) -> paramiko.Channel:
        warm = self._transport
        if warm is not None and warm.is_active():
            try:
                return open_on(warm)
            except paramiko.ChannelException as error:
                raise _ChannelRefused(error.text) from error
            except (paramiko.SSHException, OSError, EOFError) as error:
                # Nothing was sent over it yet, so it is safe to begin again.
                LOG.debug("%s: the open connection is dead (%s), connecting anew", self.where, error)
        self.close()
        fresh = self._connect()
        with _translated(self.where):
            try:
                return open_on(fresh)
            except paramiko.ChannelException as error:
                raise _ChannelRefused(error.text) from error

    # --- connecting ---

    def _connect(self) -> _Transport:
        endpoint = self.endpoint
        with _translated(self.where):
            raw = socket.create_connection((endpoint.host, endpoint.port), self._connect_timeout)
            self.address = str(raw.getpeername()[0]).partition("%")[0]
        transport: _Transport | None = None
        try:
            with _translated(self.where):
                transport = _Transport(_Socket(raw))
                transport.set_log_channel(_PARAMIKO_LOG)
                transport.banner_timeout = transport.auth_timeout = self._connect_timeout
                self._prefer(transport)
                transport.start_client(timeout=self._connect_timeout)
                self._check_host_key(transport)
                self._authenticate(transport)
                transport.set_keepalive(_KEEPALIVE)
        except BaseException:
            (transport or raw).close()
            raise
        self._transport = transport
        return transport

    def _prefer(self, transport: paramiko.Transport) -> None:
        options = transport.get_security_options()
        if _FAST_CIPHER in options.ciphers:
            options.ciphers = (_FAST_CIPHER, *(each for each in options.ciphers if each != _FAST_CIPHER))
        if self.endpoint.host_key:
            kind = self.endpoint.host_key.split(maxsplit=1)[0]
            known = options.key_types
            wanted = tuple(each for each in (_RSA if kind == "ssh-rsa" else (kind,)) if each in known)
            options.key_types = (*wanted, *(each for each in known if each not in wanted))

    def _check_host_key(self, transport: paramiko.Transport) -> None:
        seen = public_key_line(transport.get_remote_server_key())
        pinned = self.endpoint.host_key or self.host_key
        if pinned is None:
            LOG.warning("%s: no host key is pinned, trusting the first one: %s", self.where, fingerprint(seen))
        else:
            try:
                expected = normal_host_key(pinned)
            except ValueError as error:
                raise TerminalDeviceError(f"{self.where}: the device's host_key is unusable: {error}") from None
            if expected != seen:
                raise TerminalDeviceError(
                    f"{self.where}: the host key changed: expected {fingerprint(expected)}, got {fingerprint(seen)}. "
                    "If the device was reinstalled, set its host_key to the new one; otherwise somebody else "
                    "answers at this address"
                )
        self.host_key = seen

    def _authenticate(self, transport: paramiko.Transport) -> None:
        user, credential = self.endpoint.username, self.endpoint.credential
        if isinstance(credential.private_key or credential.password, Sealed):
            raise TerminalDeviceError(
                f"{self.where}: the stored credential cannot be opened with the keys of [secrets] key_file: bring the "
                "right file back and retry, or give the device a new credential"
            )
        try:
            if credential.private_key is not None or credential.key_filename is not None:
                transport.auth_publickey(user, _load_key(credential))
            elif credential.password is not None:
                # Falls back to keyboard-interactive with the same password.
                transport.auth_password(user, credential.password, fallback=True)
            else:
                raise TerminalDeviceError(f"{self.where}: the device has neither password nor key for {user}")
        except paramiko.BadAuthenticationType as error:
            raise TerminalDeviceError(
                f"{self.where}: the SSH server does not let {user} in this way; it allows "
                f"{', '.join(error.allowed_types)}"
            ) from None
        except paramiko.AuthenticationException as error:
            if "timeout" in str(error).lower():
                raise TransientDeviceError(f"{self.where}: the SSH server did not answer the login in time") from None
            raise TerminalDeviceError(
                f"{self.where}: the SSH server refused the login of {user}: check its password or key"
            ) from None
        if not transport.is_authenticated():
            raise TerminalDeviceError(f"{self.where}: the SSH server wants more than one proof from {user}")


def _is_open(reference: weakref.ref[paramiko.Channel]) -> bool:
    channel = reference()
    return channel is not None and not channel.closed


class _ChannelRefused(TransientDeviceError):
    """The server does not open this channel."""


@contextmanager
def _translated(where: str) -> Iterator[None]:
    """What sockets and paramiko raise, as errors of the device that say where and what."""
    try:
        yield
    except DeviceError:
        raise
    except TimeoutError:
        raise TransientDeviceError(f"{where}: no answer in time") from None
    except ConnectionRefusedError:
        raise TransientDeviceError(f"{where}: connection refused: no SSH server listens there") from None
    except socket.gaierror as error:
        raise TransientDeviceError(f"{where}: the host name is not known ({error.strerror})") from None
    except paramiko.ssh_exception.IncompatiblePeer as error:
        raise TerminalDeviceError(f"{where}: no common algorithm with the SSH server: {error}") from None
    except EOFError:
        raise TransientDeviceError(f"{where}: the connection was closed") from None
    except (OSError, paramiko.SSHException) as error:
        what = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise TransientDeviceError(f"{where}: {what}") from None


# --- one per device ----------------------------------------------------------


class Pool:
    """One connection per device, kept open."""

    def __init__(self, *, connect_timeout: float) -> None:
        self._connect_timeout = connect_timeout
        self._lock = threading.Lock()
        self._connections: dict[str, Connection] = {}

    def connection(self, device_id: str, endpoint: Endpoint) -> Connection:
        """The device's connection; a new one when its endpoint is another than before."""
        with self._lock:
            known = self._connections.get(device_id)
            if known is not None and _same(known, endpoint):
                return known
            fresh = Connection(endpoint, connect_timeout=self._connect_timeout)
            self._connections[device_id] = fresh
        if known is not None:
            known.close()
        return fresh

    def forget(self, device_id: str) -> None:
        with self._lock:
            known = self._connections.pop(device_id, None)
        if known is not None:
            known.close()

    def close(self) -> None:
        with self._lock:
            everything, self._connections = list(self._connections.values()), {}
        for each in everything:
            each.close()


def _same(known: Connection, endpoint: Endpoint) -> bool:
    """Whether the connection is to that endpoint. A key that is pinned after the first connection is the same when it
    is the one that was seen."""
    if replace(known.endpoint, host_key=None) != replace(endpoint, host_key=None):
        return False
    pinned = endpoint.host_key
    if pinned is None:
        # A key that was pinned and is no more: whatever answers next is trusted anew.
        return known.endpoint.host_key is None
    try:
        return normal_host_key(pinned) == (known.host_key or normal_host_key(known.endpoint.host_key or ""))
    except ValueError:
        return False
