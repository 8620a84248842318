"""The security of `kafka.client` (librdkafka's names) for Faust's client, which is aiokafka.

Both clients of a worker must come to the same broker as the same principal. What one of them cannot do
is refused with words before anything is started, because a worker whose rows flow and whose group does
not would look alive.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pctstream.errors import ConfigError

if TYPE_CHECKING:
    from faust.auth import Credentials

PROTOCOLS = ("plaintext", "ssl", "sasl_plaintext", "sasl_ssl")
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


def credentials(client: Mapping[str, Any]) -> Credentials | None:
    """What Faust is to show to the broker; None where nothing is asked for.

    Raises ConfigError for a protocol, mechanism or form of key that only librdkafka knows.
    """
    protocol = _protocol(client)
    if protocol == "plaintext":
        return None
    from faust.auth import SASLCredentials, SSLCredentials

    context = _context(client) if protocol.endswith("ssl") else None
    if protocol == "ssl":
        return SSLCredentials(context)
    return SASLCredentials(
        username=str(client.get("sasl.username", "")),
        password=str(client.get("sasl.password", "")),
        mechanism=_mechanism(client),
        ssl_context=context,
    )


def _protocol(client: Mapping[str, Any]) -> str:
    """
    >>> _protocol({}), _protocol({"security.protocol": "SASL_SSL"})
    ('plaintext', 'sasl_ssl')
    """
    protocol = str(client.get("security.protocol", "plaintext")).lower()
    if protocol not in PROTOCOLS:
        raise ConfigError(f"kafka.client: security.protocol must be one of {', '.join(PROTOCOLS)}")
    return protocol


def _mechanism(client: Mapping[str, Any]) -> str:
    named = client.get("sasl.mechanism", client.get("sasl.mechanisms", "GSSAPI"))
    if named not in MECHANISMS:
        raise ConfigError(
            f"kafka.client: sasl.mechanism must be one of {', '.join(MECHANISMS)}: the others are not "
            "known to both of a worker's clients"
        )
    return str(named)


def _context(client: Mapping[str, Any]) -> ssl.SSLContext:
    """Whom Faust believes, and the certificate that it shows, as librdkafka has them."""
    try:
        context = ssl.create_default_context(
            cafile=client.get("ssl.ca.location"), cadata=client.get("ssl.ca.pem")
        )
        if certificate := client.get("ssl.certificate.location"):
            password = str(client.get("ssl.key.password", ""))
            key = client.get("ssl.key.location")
            context.load_cert_chain(certificate, key, password=lambda: password)
    except OSError as error:
        raise ConfigError(f"kafka.client: a file of ssl.* cannot be used: {error}") from None
    if "ssl.certificate.pem" in client or "ssl.keystore.location" in client:
        raise ConfigError(
            "kafka.client: give the client's certificate in ssl.certificate.location and "
            "ssl.key.location, which both of a worker's clients read"
        )
    if str(client.get("ssl.endpoint.identification.algorithm", "https")).lower() == "none":
        context.check_hostname = False
    if str(client.get("enable.ssl.certificate.verification", True)).lower() in ("false", "0"):
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
