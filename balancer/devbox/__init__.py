"""The DevBox: a device, back ends and the service on one machine, made of real programs and taken away again.

`host` builds a device from sshd and haproxy; the integration tests use it as well. `box` is what
`bin/balancer-devbox` does. Nothing in the service imports this package.
"""
