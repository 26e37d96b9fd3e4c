"""Names of hosts, checked before a launcher builds options and shell commands from them."""

from __future__ import annotations

import re

_PART = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_LONGEST = 253


def host_name_fault(name: str) -> str | None:
    """Return what is wrong with the name or IPv4 address of a host and how to fix it; None if it can be used.

    Launchers separate hosts with `:`, `@` and `,`, and pass them to ssh and to shells on other hosts.
    """
    if "@" in name:
        return f"{name!r} has a user; name the host alone, and give its user in ~/.ssh/config (`Host`, `User`)"
    if name.count(":") > 1 or name.startswith("["):
        return (
            f"{name!r} is an IPv6 address, which the launchers cannot be given; name the host, by its name in "
            "/etc/hosts or in ~/.ssh/config (`Host`, `HostName`)"
        )
    if ":" in name:
        return f"{name!r} has a port; name the host alone, and give its port in ~/.ssh/config (`Host`, `Port`)"
    if len(name) > _LONGEST or not all(map(_PART.fullmatch, name.split("."))):
        return (
            f"{name[:80]!r} is no name of a host: letters, digits, `-`, `_` and `.`, each part at most 63 characters; "
            "correct it"
        )
    return None
