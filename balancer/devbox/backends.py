"""Back ends: real web servers, each answering with a page that names its port."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import TracebackType
from typing import Self

from balancer.devbox.processes import ProcessId, StartError, accepts, free_port, spawn, wait_until


def page(port: int) -> str:
    """What a back end answers to GET /."""
    return f"back end {port}\n"


class Backend:
    """One lighttpd. A context manager; `start` after `stop` or `kill` serves on the same port again.

    `root`: its state directory (configuration, page, logs), made when missing. `port`: 0 means any free. `address`: the
    one address where it listens.
    """

    def __init__(self, root: Path, port: int = 0, *, address: str = "127.0.0.1") -> None:
        self.root = root.absolute()
        self.port = port
        self.address = address
        self.process: ProcessId | None = None

    @property
    def log(self) -> Path:
        return self.root / "error.log"

    @property
    def pages(self) -> Path:
        """The directory it serves; a test may add or remove files."""
        return self.root / "pages"

    def start(self) -> Self:
        """Returns when it accepts connections; raises `StartError` with the end of its log."""
        self.port = self.port or free_port()
        self.pages.mkdir(parents=True, exist_ok=True)
        (self.pages / "index.html").write_text(page(self.port))
        (self.root / "lighttpd.conf").write_text(self._configuration())
        program = shutil.which("lighttpd", path="/usr/local/sbin:/usr/sbin:/usr/bin") or "/usr/sbin/lighttpd"
        if accepts(self.address, self.port):
            raise StartError(f"port {self.port} is in use, so no back end can be started there")
        process = ProcessId.of(spawn([program, "-D", "-f", "lighttpd.conf"], self.log, cwd=self.root))
        self.process = process

        def serves() -> bool:
            if not process.alive():
                raise StartError(f"lighttpd on port {self.port} ended: {self.log.read_text(errors='replace')}")
            return accepts(self.address, self.port)

        wait_until(serves, f"lighttpd does not serve on port {self.port}", self.log)
        return self

    def stop(self) -> None:
        if self.process is not None:
            self.process.stop()
        self.process = None

    def kill(self) -> None:
        """As a crash would: at once, connections reset."""
        if self.process is not None:
            self.process.kill()
        self.process = None

    def requests(self, path: str = "/") -> int:
        """How many requests for `path` were answered since the first start, health checks included."""
        log = self.root / "access.log"
        if not log.exists():
            return 0
        return sum(line.split(" ")[1] == path for line in log.read_text().splitlines())

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _configuration(self) -> str:
        # Its working directory is the state directory: no path needs quoting. A log written through a pipe shows
        # each request at once; lines for a file are kept back for seconds.
        return f"""\
server.port = {self.port}
server.bind = "{self.address}"
server.document-root = var.CWD + "/pages"
server.modules = ( "mod_accesslog" )
index-file.names = ( "index.html" )
mimetype.assign = ( ".html" => "text/plain; charset=utf-8" )
accesslog.filename = "| exec cat >>access.log"
accesslog.format = "%m %U %s"
"""
