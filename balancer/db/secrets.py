"""Secrets at rest: the devices' passwords and private keys, encrypted by the keys of a file.

The file holds one key per line (of Fernet: AES-128-CBC with HMAC-SHA256); the first one encrypts, every one decrypts.
The table `encryption` holds a probe by which a wrong file is noticed before anything is done with it.
"""

from __future__ import annotations

import logging
import os
import stat
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from sqlalchemy import Connection, Engine, insert, select, update

from balancer.core.model import Sealed
from balancer.core.retry import after_lost_race
from balancer.db.engine import SYNC_COMMAND, locks_rows, read, write
from balancer.db.tables import devices, encryption
from balancer.exceptions import DatabaseNotSynced, KeysUnavailable

_LOG = logging.getLogger(__name__)

_SECRETS = ("password", "private_key")
_PROBE = "balancer"
_PROBE_ID = 1


class Secrets(Protocol):
    def seal(self, text: str) -> Sealed:
        """Encrypt. Raises `KeysUnavailable`."""

    def open(self, sealed: str) -> str:
        """Decrypt. Raises `KeysUnavailable` when none of the keys fits."""


class Keys:
    """Keys in memory; the first one encrypts. Raises `ValueError` for what is no key."""

    def __init__(self, keys: Sequence[str]) -> None:
        if not keys:
            raise ValueError("no key")
        self._box = MultiFernet([Fernet(key) for key in keys])

    def seal(self, text: str) -> Sealed:
        return Sealed(self._box.encrypt(text.encode()).decode())

    def open(self, sealed: str) -> str:
        try:
            return self._box.decrypt(sealed.encode()).decode()
        except InvalidToken:
            raise KeysUnavailable("none of the keys opens it") from None


def new_key() -> str:
    return Fernet.generate_key().decode()


class KeyFile:
    """The keys of a file, which is read again whenever it has changed."""

    def __init__(self, path: Path) -> None:
        """Reads nothing yet."""
        self.path = path
        self._lock = threading.Lock()
        self._seen: tuple[int, int, int] | None = None
        self._keys: Keys | None = None

    def seal(self, text: str) -> Sealed:
        return self._current().seal(text)

    def open(self, sealed: str) -> str:
        keys = self._current()
        try:
            return keys.open(sealed)
        except KeysUnavailable:
            raise KeysUnavailable(f"[secrets] key_file: none of the keys of {self.path} opens it") from None

    def exists(self) -> bool:
        return self.path.exists()

    def texts(self) -> list[str]:
        """The keys. Raises `KeysUnavailable`."""
        try:
            lines = self.path.read_text(encoding="ascii").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise self._unusable(getattr(error, "strerror", None) or "it is no text") from None
        keys = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
        try:
            Keys(keys)
        except ValueError:
            raise self._unusable("it must hold one key per line, as balancer-api --dbsync makes them") from None
        return keys

    def create(self) -> None:
        """With a new key, for its owner's eyes only, unless it is there already. Raises `KeysUnavailable`."""
        self._write([new_key()], replace=False)

    def store(self, keys: Sequence[str]) -> None:
        """Other keys in the place of those that are in it; owner and rights stay. Raises `KeysUnavailable`."""
        self._write(keys, replace=True)

    def _current(self) -> Keys:
        try:
            found = self.path.stat()
        except OSError as error:
            raise self._unusable(error.strerror) from None
        version = (found.st_mtime_ns, found.st_ino, found.st_size)
        with self._lock:
            if self._keys is None or version != self._seen:
                if found.st_mode & (stat.S_IROTH | stat.S_IWOTH):
                    _LOG.warning("%s can be read by every user of this host: chmod 600 it", self.path)
                self._keys, self._seen = Keys(self.texts()), version
            return self._keys

    def _write(self, keys: Sequence[str], *, replace: bool) -> None:
        """Whole or not at all, whoever else writes it at the same moment."""
        name = ""
        try:
            handle, name = tempfile.mkstemp(prefix=f".{self.path.name}-", dir=self.path.parent)
            with os.fdopen(handle, "w", encoding="ascii") as new:
                if replace:
                    old = self.path.stat()
                    os.fchmod(new.fileno(), stat.S_IMODE(old.st_mode))
                    if (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
                        os.fchown(new.fileno(), old.st_uid, old.st_gid)
                new.write("".join(f"{key}\n" for key in keys))
                new.flush()
                os.fsync(new.fileno())
            if replace:
                os.replace(name, self.path)
                return
            try:
                os.link(name, self.path)
            except FileExistsError:
                pass
            else:
                _LOG.info("Made %s. Keep a copy of it, apart from the database's", self.path)
            os.unlink(name)
        except OSError as error:
            if name:
                Path(name).unlink(missing_ok=True)
            raise self._unusable(error.strerror, "written") from None

    def _unusable(self, why: str | None, verb: str = "used") -> KeysUnavailable:
        return KeysUnavailable(f"[secrets] key_file: {self.path} cannot be {verb}: {why}")


# --- the database and its keys ----------------------------------------------------------


@after_lost_race
def sync(engine: Engine, keys: KeyFile) -> None:
    """Have what is stored encrypted by the keys; a key file is made where nothing was ever encrypted and there is none.

    Raises `KeysUnavailable` when the keys are not those of the database; nothing is changed then.
    """
    with read(engine) as connection:
        probe = _probe(connection)
    if probe is not None:
        _check(probe, keys)
        return
    if not keys.exists():
        keys.create()
    with write(engine) as connection:
        if _probe(connection) is None:
            for row in _stored(connection):
                _store(connection, row, {name: keys.seal(row[name]) for name in _SECRETS if row[name] is not None})
            connection.execute(insert(encryption).values(id=_PROBE_ID, probe=keys.seal(_PROBE)))
    check(engine, keys)


def check(engine: Engine, keys: KeyFile) -> None:
    """Raises `DatabaseNotSynced` when nothing was encrypted yet, `KeysUnavailable` when it was by other keys."""
    with read(engine) as connection:
        probe = _probe(connection)
    if probe is None:
        raise DatabaseNotSynced(f"What devices are logged in to with is not encrypted yet. Run: {SYNC_COMMAND}")
    _check(probe, keys)


def rotate(engine: Engine, keys: KeyFile, *, keep_old: bool = False) -> int:
    """Encrypt everything anew by a new key; returns the number of devices.

    The file has the new key besides the old ones before anything is encrypted by it, and loses the old ones at the
    end, unless they are to be kept. Whenever this is interrupted, the file opens everything. Raises `KeysUnavailable`.
    """
    check(engine, keys)
    old = keys.texts()
    new = new_key()
    keys.store([new, *old])
    try:
        count = _encrypt_anew(engine, keys, Keys([new]))
    except BaseException:
        # Others may have used the new key meanwhile: it goes behind, where it opens and does not encrypt.
        keys.store([*old, new])
        raise
    if not keep_old:
        keys.store([new])
    return count


@after_lost_race
def _encrypt_anew(engine: Engine, keys: KeyFile, new: Keys) -> int:
    with write(engine) as connection:
        lock(connection)
        rows = _stored(connection)
        for row in rows:
            try:
                opened = {name: keys.open(row[name]) for name in _SECRETS if row[name] is not None}
            except KeysUnavailable as error:
                raise KeysUnavailable(f"Device {row['id']} ({row['name']}): {error}") from None
            _store(connection, row, {name: new.seal(text) for name, text in opened.items()})
        connection.execute(update(encryption).values(probe=new.seal(_PROBE)))
        return len(rows)


def lock(connection: Connection) -> None:
    """Whoever is going to store a secret: nobody exchanges the keys until the transaction ends."""
    if locks_rows(connection):
        connection.execute(select(encryption.c.id).with_for_update())


def _probe(connection: Connection) -> str | None:
    probe: str | None = connection.scalar(select(encryption.c.probe).where(encryption.c.id == _PROBE_ID))
    return probe


def _check(probe: str, keys: KeyFile) -> None:
    if not keys.exists():
        raise KeysUnavailable(
            f"[secrets] key_file: {keys.path} is not there. What devices are logged in to with is encrypted by its "
            "keys: bring it back from where it was, or from a backup. Nothing was changed"
        )
    try:
        keys.open(probe)
    except KeysUnavailable:
        # Says itself what is wrong with the file.
        keys.texts()
        raise KeysUnavailable(
            f"[secrets] key_file: the keys of {keys.path} are not those of this database: give it the file that "
            "belongs to it. Nothing was changed"
        ) from None


def _stored(connection: Connection) -> Sequence[Mapping[Any, Any]]:
    columns = (devices.c[name] for name in ("id", "name", *_SECRETS))
    return connection.execute(select(*columns).order_by(devices.c.id).with_for_update()).mappings().all()


def _store(connection: Connection, row: Mapping[Any, Any], sealed: Mapping[str, str]) -> None:
    if sealed:
        connection.execute(update(devices).where(devices.c.id == row["id"]).values(**sealed))
