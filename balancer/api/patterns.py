"""What texts look like in both OpenStack dialects of load balancers: regular expressions that match the whole text."""

from __future__ import annotations

# Rather more than a URL's grammar would allow is refused by the rules, which know what can be deployed.
PATH = r"/[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*"
CODES = r"[1-5][0-9]{2}( *, *[1-5][0-9]{2})*|[1-5][0-9]{2}-[1-5][0-9]{2}"
# What one part of a path can be and comes back as. Clients take dots alone away, and this service a ".json".
PATH_PART = r"(?!\.{1,2}$|.*\.json$)[^/\x00-\x1f\x7f]+"
COOKIE_NAME = r"[!#$%&'*+.0-9A-Z^_`a-z|~-]+"
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "TRACE", "OPTIONS", "CONNECT", "PATCH")
