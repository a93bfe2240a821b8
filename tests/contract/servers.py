"""Database servers of the tests' own: Debian's programs, a directory and a socket of their own, an unprivileged user.

One of each kind serves a whole test process, is started when first asked for, and ends with the process, however
that ends.
"""

from __future__ import annotations

import atexit
import functools
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import sqlalchemy as sa

from balancer.db.engine import make_engine
from balancer.devbox.processes import accepts, free_port, tail, wait_until
from balancer.exceptions import DatabaseUnavailable

ACCOUNT = "balancer"
"""The user of the servers that owns the tests' databases and is nothing else."""

# The zone of the servers has a summer time, in which one hour of the year comes twice. Nobody may notice.
_ZONE = "CET-1CEST,M3.5.0,M10.5.0/3"


class Server:
    """A server process and its files. `user` is the account that the package made for it."""

    user: str
    stop_signal: signal.Signals

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="balancer-db-"))
        self.log = self.root / "log"
        self.data = self.root / "data"
        self.password = secrets.token_hex(16)
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = iter(range(1, 10**6))
        if os.geteuid() == 0:
            account = pwd.getpwnam(self.user)
            os.chown(self.root, account.pw_uid, account.pw_gid)
        self.install()
        self.start()
        self.make_account()

    # --- what each kind does its own way ---

    def install(self) -> None:
        """Make the data directory."""
        raise NotImplementedError

    def command(self) -> list[str]:
        raise NotImplementedError

    def administrator(self) -> sa.Engine:
        """Sees statements committed one by one."""
        raise NotImplementedError

    def make_account(self) -> None:
        raise NotImplementedError

    def make_database(self, name: str) -> str:
        """Make it, for the account; returns its URL."""
        raise NotImplementedError

    def drop_database(self, name: str) -> None:
        raise NotImplementedError

    # --- the process ---

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._unprivileged(self.command()),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.root,
                env={"PATH": os.environ["PATH"], "TZ": _ZONE, "LC_ALL": "C.UTF-8"},
                start_new_session=True,
            )
        wait_until(self._answers, f"{self.command()[0]} does not answer", self.log, timeout=60)

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.send_signal(self.stop_signal)
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(timeout=30)
        self._process = None

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.root, ignore_errors=True)

    def free_name(self) -> str:
        """Of a database that was not there yet."""
        return f"balancer_{next(self._numbers)}"

    def execute(self, *statements: str) -> None:
        """As administrator."""
        engine = self.administrator()
        try:
            with engine.connect() as connection:
                for statement in statements:
                    connection.exec_driver_sql(statement)
        finally:
            engine.dispose()

    def run(self, argv: Sequence[str]) -> None:
        """A program of the package, as the server's user, to its end."""
        with self.log.open("ab") as log:
            done = subprocess.run(
                self._unprivileged(argv), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.root, timeout=120
            )
        if done.returncode:
            raise RuntimeError(f"{argv[0]} failed:\n{tail(self.log)}")

    def _unprivileged(self, argv: Sequence[str]) -> list[str]:
        # A killed test process takes its server along.
        prefix = ["setpriv", f"--pdeathsig={self.stop_signal.name}"]
        if os.geteuid() == 0:
            account = pwd.getpwnam(self.user)
            prefix += [f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
        return [*prefix, *argv]

    def _answers(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError(f"{self.command()[0]} ended:\n{tail(self.log)}")
        if not accepts("127.0.0.1", self.port):
            return False
        try:
            self.execute("SELECT 1")
        except (DatabaseUnavailable, sa.exc.DBAPIError):
            return False
        return True


class PostgresqlServer(Server):
    """Its administrator comes in by the socket without a password, everybody else over TCP with one."""

    user = "postgres"
    stop_signal = signal.SIGINT  # disconnects everybody

    def install(self) -> None:
        # No fsync, here and below: what a power cut leaves is not of interest.
        self.run([self._program("initdb"), "-D", str(self.data), "-U", "root", "-A", "trust", "-E", "UTF8", "-N"])
        rules = "local all root trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
        (self.data / "pg_hba.conf").write_text(rules)

    def command(self) -> list[str]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self.root),
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
            "shared_buffers": "32MB",
            "max_connections": "150",
            "deadlock_timeout": "100ms",
            "timezone": _ZONE,
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [self._program("postgres"), "-D", str(self.data), *options]

    def administrator(self) -> sa.Engine:
        return make_engine(f"postgresql+psycopg://root@/postgres?host={self.root}&port={self.port}").execution_options(
            isolation_level="AUTOCOMMIT"
        )

    def make_account(self) -> None:
        self.execute(f"CREATE ROLE {ACCOUNT} LOGIN PASSWORD '{self.password}'")

    def make_database(self, name: str) -> str:
        self.execute(f"CREATE DATABASE {name} OWNER {ACCOUNT}")
        return f"postgresql+psycopg://{ACCOUNT}:{self.password}@127.0.0.1:{self.port}/{name}"

    def drop_database(self, name: str) -> None:
        self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    @staticmethod
    def _program(name: str) -> str:
        """Debian keeps them by version, outside of PATH."""
        found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[4]))
        program = str(found[-1]) if found else shutil.which(name)
        if program is None:
            raise RuntimeError(f"{name} was not found: apt-get install postgresql")
        return program


class MariadbServer(Server):
    """Its administrator comes in by the socket without a password, everybody else over TCP with one."""

    user = "mysql"
    stop_signal = signal.SIGTERM

    def install(self) -> None:
        self.run(
            [
                self._program("mariadb-install-db"),
                "--no-defaults",
                f"--datadir={self.data}",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                "--innodb-flush-log-at-trx-commit=0",
                "--skip-innodb-doublewrite",
            ]
        )

    def command(self) -> list[str]:
        return [
            self._program("mariadbd"),
            "--no-defaults",
            f"--datadir={self.data}",
            f"--socket={self._socket}",
            f"--pid-file={self.root / 'pid'}",
            "--bind-address=127.0.0.1",
            f"--port={self.port}",
            "--skip-name-resolve",
            "--innodb-flush-log-at-trx-commit=0",
            "--skip-innodb-doublewrite",
            "--innodb-flush-method=nosync",
            "--innodb-buffer-pool-size=64M",
            # What the tables need they must ask for themselves.
            "--character-set-server=latin1",
            "--sql-mode=",
        ]

    def administrator(self) -> sa.Engine:
        return make_engine(f"mariadb+pymysql://root@localhost/mysql?unix_socket={self._socket}").execution_options(
            isolation_level="AUTOCOMMIT"
        )

    def make_account(self) -> None:
        self.execute(f"CREATE USER {ACCOUNT}@127.0.0.1 IDENTIFIED BY '{self.password}'")

    def make_database(self, name: str) -> str:
        self.execute(f"CREATE DATABASE {name}", f"GRANT ALL ON {name}.* TO {ACCOUNT}@127.0.0.1")
        return f"mariadb+pymysql://{ACCOUNT}:{self.password}@127.0.0.1:{self.port}/{name}"

    def drop_database(self, name: str) -> None:
        self.execute(f"DROP DATABASE {name}")

    @property
    def _socket(self) -> Path:
        return self.root / "socket"

    @staticmethod
    def _program(name: str) -> str:
        program = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/usr/bin")
        if program is None:
            raise RuntimeError(f"{name} was not found: apt-get install mariadb-server")
        return program


@functools.cache
def postgresql() -> PostgresqlServer:
    server = PostgresqlServer()
    atexit.register(server.close)
    return server


@functools.cache
def mariadb() -> MariadbServer:
    server = MariadbServer()
    atexit.register(server.close)
    return server
