"""The error tree. It knows nothing of HTTP: `balancer.api.errors` maps each type to a status in one table."""

from __future__ import annotations


class BalancerError(Exception):
    """Base of every error this program raises on purpose; `str(error)` is fit for the caller's eyes.

    `terms` are the model's names of algorithms in it, for dialects that have other ones.
    """

    terms: tuple[str, ...] = ()


# --- what a caller did -------------------------------------------------------


class InvalidInput(BalancerError):
    """A field is missing, ill-typed or outside its allowed values.

    `field` is the path of the offending field in the caller's body (``nodes[1].weight``), empty when the
    body as a whole is meant.
    """

    def __init__(self, message: str, *, field: str = "", terms: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.field = field
        self.terms = terms


class Malformed(InvalidInput):
    """The body is no JSON."""


class Rejected(InvalidInput):
    """The request is wrong in itself, whatever there is: an attribute that is unknown, missing, not to be set, or has a
    value that it cannot have."""


class Unsupported(InvalidInput):
    """What is asked for makes sense, but the driver cannot do it."""


class NotFound(BalancerError):
    """There is no such object that the caller could know of."""

    def __init__(self, kind: str, object_id: str) -> None:
        super().__init__(f"{kind} {object_id} not found")
        self.kind = kind
        self.object_id = object_id


class NotOwned(NotFound):
    """The object exists, but is another project's. Most dialects answer as if it did not exist."""


class NoSuitableDevice(BalancerError):
    """The scheduler found no device for a load balancer.

    `field` is what of the request keeps all of them away, in the model's words, empty when no single field does.
    """

    def __init__(self, message: str, *, field: str = "", terms: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.field = field
        self.terms = terms


class NotOffered(NoSuitableDevice):
    """There are devices, but the load balancer needs what none of them offers."""


class Forbidden(BalancerError):
    """The caller may not do this.

    `field` is what of the request it may not, in the model's words, empty when no single field is.
    """

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class OverQuota(BalancerError):
    """The project would have more than it may have. `resources` are what it would have too many of, in the model's
    words (`QuotaResource`)."""

    def __init__(self, message: str, *, resources: tuple[str, ...]) -> None:
        super().__init__(message)
        self.resources = resources


class Conflict(BalancerError):
    """The request contradicts what is there: device in use, address and port taken, object being deleted.

    `field` is what of the request does, in the model's words, empty when no single field does.
    """

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class InUse(Conflict):
    """An object of that `kind` cannot go while others need it."""

    def __init__(self, message: str, *, kind: str, field: str = "") -> None:
        super().__init__(message, field=field)
        self.kind = kind


class CapabilityConflict(Conflict):
    """The pinned or present device cannot do what the load balancer asks for."""

    def __init__(self, message: str, *, field: str = "", terms: tuple[str, ...] = ()) -> None:
        super().__init__(message, field=field)
        self.terms = terms


# --- the service's own surroundings ------------------------------------------


class ConfigurationError(BalancerError):
    """The service's own configuration is wrong; the message says which option and how to mend it."""


class KeysUnavailable(ConfigurationError):
    """The keys by which secrets are stored are missing, or are others."""


class IdentityUnavailable(BalancerError):
    """Keystone cannot be asked about a token."""


class DatabaseUnavailable(BalancerError):
    """The database cannot be reached or stayed locked for too long."""


class DatabaseNotSynced(BalancerError):
    """The database lacks the tables this version needs; the message names the command to run."""


class StaleGeneration(BalancerError):
    """Somebody else saved the object meanwhile: load it again and repeat the change."""


class NotYet(BalancerError):
    """Nothing is wrong, but the device is to be left alone for `seconds`; nothing was changed."""

    def __init__(self, message: str, *, seconds: float) -> None:
        super().__init__(message)
        self.seconds = seconds


class LeaseLost(BalancerError):
    """Another worker owns the device now; whatever was not applied yet must not be applied."""


class LaterOwner(LeaseLost):
    """The device remembers a deployment under the epoch `epoch`, later than that of the lease."""

    def __init__(self, message: str, *, epoch: int) -> None:
        super().__init__(message)
        self.epoch = epoch


# --- devices -----------------------------------------------------------------


class DeviceError(BalancerError):
    """Something went wrong with a device."""


class TransientDeviceError(DeviceError):
    """May pass by itself: unreachable, timed out, busy. Retried with backoff."""


class TerminalDeviceError(DeviceError):
    """Will not pass by itself: authentication, host key, rights, a broken hand-written part.

    Waits for a change or for an operator's retry.
    """
