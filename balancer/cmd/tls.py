"""The certificate of the API."""

from __future__ import annotations

import ssl

from balancer.config import ApiSettings
from balancer.exceptions import ConfigurationError


def tls_context(settings: ApiSettings) -> ssl.SSLContext | None:
    """None without a certificate. Raises `ConfigurationError`."""
    if settings.tls_cert_file is None and settings.tls_key_file is None:
        return None
    if settings.tls_cert_file is None:
        raise ConfigurationError("[api] tls_key_file is set, and tls_cert_file is not")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    for option, name in (("tls_cert_file", settings.tls_cert_file), ("tls_key_file", settings.tls_key_file)):
        if name is not None:
            _check_readable(option, name)
    try:
        # A key with a passphrase must not ask for it at a terminal.
        context.load_cert_chain(settings.tls_cert_file, settings.tls_key_file, password=lambda: "")
    except (OSError, ValueError) as error:
        where = "" if settings.tls_key_file is None else f" and tls_key_file {settings.tls_key_file}"
        raise ConfigurationError(
            f"[api] tls_cert_file {settings.tls_cert_file}{where} are no PEM certificate and its key without a "
            f"passphrase: {getattr(error, 'reason', None) or error}"
        ) from error
    return context


def _check_readable(option: str, name: str) -> None:
    try:
        with open(name, "rb"):
            pass
    except OSError as error:
        raise ConfigurationError(f"[api] {option} {name} cannot be read: {error.strerror}") from error
