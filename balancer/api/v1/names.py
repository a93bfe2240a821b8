"""The words of the balancer API beside those of the model, one table for each."""

from __future__ import annotations

from collections.abc import Mapping

from balancer.core.model import MonitorType, PersistenceKind, Protocol, QuotaResource, Rotation

ALGORITHM_SYNONYMS: Mapping[str, str] = {
    "SOURCE_IP": "HASH_SOURCE",
    "LEAST_CONNECTIONS": "LEAST_CONNECTION",
    "STATIC_ROUND_ROBIN": "STATIC_RR",
}

# Protocols that this dialect can ask for; those of the other dialects are shown by their own names.
PROTOCOLS: tuple[Protocol, ...] = (Protocol.HTTP, Protocol.HTTPS, Protocol.TCP, Protocol.UDP, Protocol.SCTP)

MONITOR_TYPES: Mapping[MonitorType, str] = {
    MonitorType.PING: "ICMP",
    MonitorType.TCP: "TCP",
    MonitorType.HTTP: "HTTP",
    MonitorType.HTTPS: "HTTPS",
    MonitorType.TLS_HELLO: "TLS-HELLO",
    MonitorType.UDP_CONNECT: "UDP-CONNECT",
    MonitorType.SCTP: "SCTP",
}
# Shown only: this dialect cannot ask for them.
FOREIGN_MONITOR_TYPES = (MonitorType.UDP_CONNECT, MonitorType.SCTP)
MONITOR_TYPE_SYNONYMS: Mapping[str, str] = {"CONNECT": "TCP", "PING": "ICMP"}
HTTP_MONITORS = (MonitorType.HTTP, MonitorType.HTTPS)

PERSISTENCE_KINDS: tuple[PersistenceKind, ...] = tuple(PersistenceKind)
PERSISTENCE_SYNONYMS: Mapping[str, str] = {"IP": "SOURCE_IP", "COOKIE": "HTTP_COOKIE"}

ROTATIONS: Mapping[Rotation, str] = {
    Rotation.IN: "INSERVICE",
    Rotation.DRAIN: "DRAIN",
    Rotation.OUT: "OUTOFSERVICE",
}
ROTATION_SYNONYMS: Mapping[str, str] = {"SUSPEND": "DRAIN", "STANDBY": "DRAIN"}

QUOTAS: Mapping[QuotaResource, str] = {
    QuotaResource.LOAD_BALANCER: "loadbalancer",
    QuotaResource.LISTENER: "virtualIp",
    QuotaResource.MEMBER: "node",
    QuotaResource.HEALTH_MONITOR: "healthMonitoring",
    QuotaResource.POOL: "pool",
    QuotaResource.L7_POLICY: "l7policy",
    QuotaResource.L7_RULE: "l7rule",
}

# The first parts of a path that no project can have as its name.
RESERVED = (
    "devices",
    "algorithms",
    "protocols",
    "v2",
    "v2.0",
    "healthcheck",
    "metrics",
    "openapi.json",
    "console",
)
