"""Which of our errors an error of Kafka's is: who may not, who is away, who asks the impossible."""

from __future__ import annotations

from confluent_kafka import KafkaError

from pctstream.errors import BrokerUnreachable, ConfigError, PctError, Refused

REFUSED = frozenset(
    {
        KafkaError._AUTHENTICATION,
        KafkaError._SSL,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.UNSUPPORTED_SASL_MECHANISM,
        KafkaError.ILLEGAL_SASL_STATE,
        KafkaError.SECURITY_DISABLED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    }
)
"""Codes of a broker, or of its TLS, that does not accept who is asking."""


def error_of(reason: KafkaError, what: str) -> PctError:
    """The error of a call that was to ``what`` ("list the topics").

    >>> error_of(KafkaError(KafkaError._TRANSPORT), "list the topics").exit_code
    3
    """
    if reason.code() in REFUSED:
        return Refused(f"the broker does not let us {what}: {reason.str()}; check kafka.client")
    if reason.retriable() or reason.code() < 0 or reason.code() == KafkaError.REQUEST_TIMED_OUT:
        return BrokerUnreachable(f"could not {what}: {reason.str()}; is the broker running?")
    return ConfigError(f"the broker refused to {what}: {reason.str()}")
