"""The Paste filter ``authtoken``: Keystone's own middleware with the options of this service's files.

Differs from the plain one in that: options come from ``[keystone_authtoken]`` of those files; a Keystone that cannot be
asked is 503, not a bad token; it is not waited for without a limit; mistakes in the options end the start; what a token
was found to say is not found out anew for every request.
"""

from __future__ import annotations

import configparser
import math
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from keystoneauth1 import exceptions as keystone
from keystonemiddleware import auth_token
from keystonemiddleware.auth_token import AuthProtocol, InvalidToken, ServiceError
from oslo_config import cfg
from webob.exc import HTTPServiceUnavailable

from balancer.api.middleware.access import GLOBAL_ID_HEADERS, AccessLog
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


_MOST_KNOWN = 1000
# Headers of Keystone's begin like this; any other than these makes its middleware look at the whole request.
_PREFIX = "HTTP_X_"
_HARMLESS = frozenset(
    {
        *("HTTP_X_AUTH_TOKEN", *GLOBAL_ID_HEADERS),
        *("HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PROTO", "HTTP_X_FORWARDED_HOST", "HTTP_X_REAL_IP"),
    }
)
_SAID_BESIDE = ("HTTP_OPENSTACK_SYSTEM_SCOPE", "keystone.token_auth", "keystone.token_info")
_IS_PLAIN = "balancer.plain_token"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What Keystone said of a token, when it ends (seconds since 1970), and what its middleware made of that for the
    environ."""

    data: Any
    expires: float
    said: Mapping[str, Any]


class _Memory:
    """What tokens say that came before, for any number of threads. Whether that still holds is asked elsewhere."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}
        self._lock = threading.Lock()

    def get(self, token: str) -> _Known | None:
        return self._known.get(token)

    def learn(self, environ: Mapping[str, Any]) -> None:
        """From what the middleware has made of a plain request (`_is_plain`)."""
        data = environ.get("keystone.token_info")
        if environ.get("HTTP_X_IDENTITY_STATUS") != "Confirmed" or not _counts_everywhere(data):
            return
        expires = environ["keystone.token_auth"].user.expires
        known = _Known(
            data=data,
            expires=math.inf if expires is None else expires.timestamp(),
            said={
                name: value
                for name, value in environ.items()
                if name in _SAID_BESIDE or (name.startswith(_PREFIX) and name not in _HARMLESS)
            },
        )
        with self._lock:
            self._known[environ["HTTP_X_AUTH_TOKEN"]] = known
            if len(self._known) > _MOST_KNOWN:
                del self._known[next(iter(self._known))]


def _is_plain(environ: Mapping[str, Any]) -> bool:
    """Whether nothing but the token tells who is asking, or pretends to."""
    return "HTTP_X_AUTH_TOKEN" in environ and not any(
        name.startswith(_PREFIX) and name not in _HARMLESS for name in environ
    )


def _counts_everywhere(data: Any) -> bool:
    """Whether what Keystone said of a token lets it be used in any request: it is not bound to whoever is asking, nor
    for some paths only."""
    token = data.get("token") if isinstance(data, Mapping) else None
    if not isinstance(token, Mapping) or token.get("bind"):
        return False
    return (token.get("application_credential") or {}).get("access_rules") is None


def _unavailable() -> IdentityUnavailable:
    return IdentityUnavailable("Keystone cannot be asked about the token now")


class Authtoken:
    """`files`: configuration files, the later ones win. `options`: those of the filter's section in the Paste file,
    which win over the files. Raises `ConfigurationError`.

    Whether a token is good is asked for every request, of Keystone or of what the middleware remembers of its answers.
    As long as that is the same answer, what was made of it is used again: that takes far longer than all the rest.
    """

    def __init__(self, app: Application, files: Iterable[str], options: Mapping[str, Any]) -> None:
        self._app = app
        self._memory = _Memory()
        try:
            conf = cfg.ConfigOpts()
            conf([], project="balancer", default_config_files=list(files), default_config_dirs=[])
            for group, opts in auth_token.list_opts():
                conf.register_opts(opts, group=group)
            for name, value in DEFAULTS.items():
                conf.set_default(name, value, group=SECTION)
            # It is the context filter that refuses.
            own = {**options, "delay_auth_decision": "true", "oslo_config_config": conf}
            self._protocol = _Protocol(self._confirmed, own)
        except (cfg.Error, keystone.ClientException, auth_token.ConfigurationError) as error:
            raise ConfigurationError(f"[{SECTION}] {error}") from error
        if self._protocol._auth is None:
            raise ConfigurationError(
                f"[{SECTION}] auth_type is missing: auth_type = password, auth_url, username, password, project_name, "
                "user_domain_name and project_domain_name tell how this service asks Keystone about tokens"
            )

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        try:
            known = self._known(environ)
            if known is None:
                return self._protocol(environ, start_response)
        except Exception as error:
            # The application answers its own errors; this is one of asking Keystone.
            environ[CALLER] = Caller()
            return AccessLog(Faults(_raising(error)))(environ, start_response)
        environ.update(known.said)
        return self._app(environ, start_response)

    def _known(self, environ: dict[str, Any]) -> _Known | None:
        """What the token of a plain request says, if that is still the same and known. Raises `IdentityUnavailable`."""
        environ[_IS_PLAIN] = _is_plain(environ)
        known = self._memory.get(environ["HTTP_X_AUTH_TOKEN"]) if environ[_IS_PLAIN] else None
        if known is None:
            return None
        try:
            same = self._protocol.fetch_token(environ["HTTP_X_AUTH_TOKEN"].strip()) == known.data
        except InvalidToken:
            return None
        return known if same and time.time() <= known.expires else None

    def _confirmed(self, environ: dict[str, Any], start_response: Any) -> Any:
        """The application behind the middleware, which has said now who is asking."""
        if environ[_IS_PLAIN]:
            self._memory.learn(environ)
        return self._app(environ, start_response)


def _raising(error: Exception) -> Application:
    def application(environ: dict[str, Any], start_response: Any) -> Any:
        raise error

    return application
