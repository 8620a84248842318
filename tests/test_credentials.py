"""`kafka.client` for Faust's client: the same principal by the same means, or a refusal."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
from broker.secured import certificate

from pctstream.credentials import credentials
from pctstream.errors import ConfigError

SCRAM = {"sasl.mechanism": "SCRAM-SHA-512", "sasl.username": "u", "sasl.password": "canary"}


def test_nothing_is_shown_where_nothing_is_asked_for() -> None:
    assert credentials({}) is None
    assert credentials({"security.protocol": "PLAINTEXT", "fetch.wait.max.ms": 5}) is None


@pytest.mark.parametrize("name", ["sasl.mechanism", "sasl.mechanisms"])
def test_a_password(name: str) -> None:
    given = {**SCRAM, "security.protocol": "sasl_plaintext"}
    given[name] = given.pop("sasl.mechanism")
    found: Any = credentials(given)
    assert (found.protocol.value, found.mechanism.value) == ("SASL_PLAINTEXT", "SCRAM-SHA-512")
    assert (found.username, found.password, found.ssl_context) == ("u", "canary", None)
    assert "canary" not in repr(found)


def test_tls_believes_whom_librdkafka_believes(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    tls = {"security.protocol": "SASL_SSL", "ssl.ca.location": str(cert), **SCRAM}
    found: Any = credentials(tls)
    assert found.protocol.value == "SASL_SSL"
    assert (found.ssl_context.verify_mode, found.ssl_context.check_hostname) == (
        ssl.CERT_REQUIRED,
        True,
    )
    assert len(found.ssl_context.get_ca_certs()) == 1
    loose: Any = credentials({**tls, "ssl.endpoint.identification.algorithm": "none"})
    assert (loose.ssl_context.verify_mode, loose.ssl_context.check_hostname) == (
        ssl.CERT_REQUIRED,
        False,
    )
    mutual = {"ssl.certificate.location": str(cert), "ssl.key.location": str(key)}
    found = credentials({"security.protocol": "ssl", "ssl.ca.location": str(cert), **mutual})
    assert found.protocol.value == "SSL"


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"security.protocol": "quic"}, "security.protocol"),
        ({"security.protocol": "sasl_plaintext"}, "sasl.mechanism"),
        ({"security.protocol": "sasl_ssl", "sasl.mechanism": "OAUTHBEARER"}, "sasl.mechanism"),
        ({"security.protocol": "ssl", "ssl.ca.location": "/no/such/file"}, "ssl"),
        ({"security.protocol": "ssl", "ssl.certificate.pem": "x"}, "ssl.certificate.location"),
    ],
)
def test_what_only_one_client_can_do_is_refused(given: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named.replace(".", r"\.")):
        credentials(given)
