"""balancer-manage: what an administrator does beside the API."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from oslo_config import cfg

from balancer import bootstrap, config
from balancer.config import Settings
from balancer.drivers.ssh import authorized_keys_line, new_key_pair
from balancer.exceptions import BalancerError, ConfigurationError, DatabaseNotSynced

_PROG = "balancer-manage"


def _commands(parsers: Any) -> None:
    rotate = parsers.add_parser(
        "rotate-keys",
        help="encrypt the stored passwords and private keys of all devices anew, by a new key; may be done while the "
        "service runs",
    )
    rotate.add_argument(
        "--keep-old",
        action="store_true",
        help="leave the old keys in the file, for other hosts that do not have the new file yet",
    )
    keygen = parsers.add_parser(
        "device-keygen",
        help="make a key pair to log in to devices with, and print the line for their authorized_keys",
    )
    keygen.add_argument("file", type=Path, help="the private key's new file; the public one gets .pub behind its name")
    keygen.add_argument("--comment", default="balancer", help="at the end of the line (default: balancer)")
    keygen.add_argument(
        "--from",
        dest="source",
        metavar="ADDRESSES",
        help="let the key be used from there only: addresses or networks, with commas between them",
    )


_CLI = (cfg.SubCommandOpt("command", title="commands", handler=_commands),)


def _rotate_keys(settings: Settings, *, keep_old: bool) -> None:
    count, keys = bootstrap.rotate_keys(settings, keep_old=keep_old)
    print(f"The credentials of {count} devices are encrypted by a new key, which {keys.path} begins with.")
    if keep_old:
        print("It still has the old keys. Copy it to the other hosts; the next rotation drops them.")


def _device_keygen(path: Path, comment: str, source: str | None) -> None:
    public_path = path.with_name(f"{path.name}.pub")
    private, public = new_key_pair()
    try:
        line = authorized_keys_line(public, comment, source=source)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    made: list[Path] = []
    try:
        for each, text, mode in ((path, private, 0o600), (public_path, f"{public} {comment}\n", 0o644)):
            with os.fdopen(os.open(each, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode), "w", encoding="ascii") as new:
                made.append(each)
                new.write(text)
    except OSError as error:
        for each in made:
            each.unlink()
        raise ConfigurationError(f"Cannot make {error.filename or path}: {error.strerror}") from None
    print(
        "In ~/.ssh/authorized_keys of the login user, on each device:\n\n"
        f"{line}\n\n"
        f'In the registration of the device: "key_filename": "{path.resolve()}"\n'
        '(or "private_key" with the file\'s text, which is then kept encrypted in the database)'
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0 done, 1 not."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        settings, conf = config.load(arguments, prog=_PROG, extra=_CLI)
        match conf.command.name:
            case "rotate-keys":
                _rotate_keys(settings, keep_old=conf.command.keep_old)
            case "device-keygen":
                _device_keygen(conf.command.file, conf.command.comment, conf.command.source)
    except DatabaseNotSynced as error:
        options = shlex.join(each for each in arguments if each not in ("rotate-keys", "--keep-old"))
        print(f"{_PROG}: {error} {options}".rstrip(), file=sys.stderr)
        return 1
    except BalancerError as error:
        print(f"{_PROG}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
