"""A load-balancer service for fleets of ordinary HAProxy hosts."""
