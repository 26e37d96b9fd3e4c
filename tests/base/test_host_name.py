"""Which names of hosts a launcher may get."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrps.base.host_name import host_name_fault


@pytest.mark.parametrize("name", ["node-1", "10.0.0.1", "gpu_7.cluster.example.org", "a", "A9", "_x", "a" * 63])
def test_a_name_or_an_address_is_accepted(name: str) -> None:
    assert host_name_fault(name) is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("root@node-1", "has a user"),
        ("@", "has a user"),
        ("::1", "is an IPv6 address"),
        ("2001:db8::7", "is an IPv6 address"),
        ("[2001:db8::7]", "is an IPv6 address"),
        ("fe80::1%eth0", "is an IPv6 address"),
        ("node-1:22", "has a port"),
        *(
            (name, "is no name of a host")
            for name in ("", ".", "a..b", "-a", "a-", "a,b", "a b", "a\n", "$(id)", "a;b")
        ),
        *(
            (name, "is no name of a host")
            for name in ("`id`", "%h", "\x1b[31m", "é", "a" * 64, ".".join(["a" * 60] * 5))
        ),
    ],
)
def test_what_would_be_split_or_run_is_refused(name: str, message: str) -> None:
    fault = host_name_fault(name)
    assert fault is not None
    assert message in fault
    assert fault.isprintable()


@given(st.text(max_size=20))
def test_no_accepted_name_is_special_to_a_shell_or_a_launcher(name: str) -> None:
    if host_name_fault(name) is None:
        assert shlex.quote(name) == name
        assert not name.startswith("-")
        assert not {*name} & set("@:,%^/")
