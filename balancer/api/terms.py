"""Words of the balancer API that its errors need wherever they arise."""

from __future__ import annotations

from collections.abc import Mapping

from balancer.core.model import Algorithm

ALGORITHMS: Mapping[Algorithm, str] = {
    Algorithm.ROUND_ROBIN: "ROUND_ROBIN",
    Algorithm.STATIC_ROUND_ROBIN: "STATIC_RR",
    Algorithm.LEAST_CONNECTIONS: "LEAST_CONNECTION",
    Algorithm.SOURCE_IP: "HASH_SOURCE",
    Algorithm.SOURCE_IP_PORT: "SOURCE_IP_PORT",
    Algorithm.URI: "HASH_URI",
}
