"""The Paste filter ``authtoken``: Keystone's own middleware with the options of this service's files.

Differs from the plain one in that: options come from ``[keystone_authtoken]`` of those files; a Keystone that cannot be
asked is 503, not a bad token; it is not waited for without a limit; mistakes in the options end the start.
"""

from __future__ import annotations

import configparser
from collections.abc import Iterable, Mapping
from typing import Any

from keystoneauth1 import exceptions as keystone
from keystonemiddleware import auth_token
from keystonemiddleware.auth_token import AuthProtocol, InvalidToken, ServiceError
from oslo_config import cfg
from webob.exc import HTTPServiceUnavailable

from balancer.api.middleware.access import AccessLog
from balancer.api.middleware.faults import Faults
from balancer.api.wsgi import CALLER, Application
from balancer.core.model import Caller
from balancer.exceptions import ConfigurationError, IdentityUnavailable

SECTION = "keystone_authtoken"
# Seconds to connect or to read, and how often it is tried again: whoever sends a request waits that long. Nobody here
# looks into the service catalogue, which makes up most of what Keystone answers and what is remembered of it.
DEFAULTS: Mapping[str, int] = {
    "http_connect_timeout": 5,
    "http_request_max_retries": 1,
    "include_service_catalog": False,
}

_RENAMED: Mapping[str, str] = {
    "auth_protocol": "auth_url",
    "auth_host": "auth_url",
    "auth_port": "auth_url",
    "auth_admin_prefix": "auth_url",
    "identity_uri": "auth_url",
    "auth_uri": "www_authenticate_uri",
    "admin_user": "username",
    "admin_password": "password",
    "admin_tenant_name": "project_name",
    "admin_token": "username and password",
}


def check_options(paste_file: str, files: Iterable[str]) -> None:
    """Raises `ConfigurationError` when the pipeline of the Paste file has Keystone's middleware, and that file or the
    others have options for it that it had once and has no more."""
    paste = _sections(paste_file)
    for name in paste.get("pipeline:main", "pipeline", fallback="").split()[:-1]:
        section = f"filter:{name}"
        factory = paste.get(section, "paste.filter_factory", fallback="")
        if "auth_token" not in factory and "authtoken" not in factory:
            continue
        _refuse_renamed(paste_file, section, paste[section])
        for path in (paste_file, *files):
            sections = _sections(path)
            if sections.has_section(SECTION):
                _refuse_renamed(path, SECTION, sections[SECTION])
        if factory.startswith(("keystone.middleware.", "keystoneclient.middleware.")):
            raise ConfigurationError(
                f"{paste_file}: [{section}] names Keystone middleware that is no more; "
                "write paste.filter_factory = balancer.bootstrap:authtoken_factory"
            )


def _sections(path: str) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read(path, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not an ini file: {error}") from error
    return parser


def _refuse_renamed(path: str, section: str, options: Mapping[str, str]) -> None:
    found = [f"{old} is {new}" for old, new in _RENAMED.items() if old in options]
    if found:
        raise ConfigurationError(
            f"{path}: [{section}] has options of an older Keystone middleware: {', '.join(found)} today "
            "(auth_url = http://HOST:5000), with auth_type = password, user_domain_name and project_domain_name; "
            f"all belong into [{SECTION}], as etc/balancer-api.conf shows"
        )


_AWAY = (keystone.ConnectFailure, keystone.DiscoveryFailure, keystone.RequestTimeout, ServiceError)


class _Protocol(AuthProtocol):
    def fetch_token(self, token: str, allow_expired: bool = False) -> Any:
        """What Keystone, or the memory of its answers, says. Raises `InvalidToken`, `IdentityUnavailable`."""
        try:
            return super().fetch_token(token, allow_expired=allow_expired)
        except InvalidToken as error:
            # It also stands for a Keystone that did not answer, or not to us.
            if isinstance(error.__context__, _AWAY):
                raise _unavailable() from error
            raise
        except (keystone.ClientException, ServiceError, HTTPServiceUnavailable) as error:
            self.log.error("Keystone cannot be asked about a token: %s", error)
            raise _unavailable() from error


def _unavailable() -> IdentityUnavailable:
    return IdentityUnavailable("Keystone cannot be asked about the token now")


class Authtoken:
    """`files`: configuration files, the later ones win. `options`: those of the filter's section in the Paste file,
    which win over the files. Raises `ConfigurationError`."""

    def __init__(self, app: Application, files: Iterable[str], options: Mapping[str, Any]) -> None:
        try:
            conf = cfg.ConfigOpts()
            conf([], project="balancer", default_config_files=list(files), default_config_dirs=[])
            for group, opts in auth_token.list_opts():
                conf.register_opts(opts, group=group)
            for name, value in DEFAULTS.items():
                conf.set_default(name, value, group=SECTION)
            # It is the context filter that refuses.
            own = {**options, "delay_auth_decision": "true", "oslo_config_config": conf}
            self._protocol = _Protocol(app, own)
        except (cfg.Error, keystone.ClientException, auth_token.ConfigurationError) as error:
            raise ConfigurationError(f"[{SECTION}] {error}") from error
        if self._protocol._auth is None:
            raise ConfigurationError(
                f"[{SECTION}] auth_type is missing: auth_type = password, auth_url, username, password, project_name, "
                "user_domain_name and project_domain_name tell how this service asks Keystone about tokens"
            )

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        try:
            return self._protocol(environ, start_response)
        except Exception as error:
            # The application answers its own errors; this is one of asking Keystone.
            environ[CALLER] = Caller()
            return AccessLog(Faults(_raising(error)))(environ, start_response)


def _raising(error: Exception) -> Application:
    def application(environ: dict[str, Any], start_response: Any) -> Any:
        raise error

    return application
