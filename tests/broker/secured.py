"""A broker that asks who is there (SCRAM or PLAIN, over TLS too) and lets nobody do what no ACL allows.

Its own address is open, for the test's administrator alone: the anonymous user there is the super user.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

from broker.system import free_port
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from pctstream.broker import LocalBroker
from pctstream.rights import Right

_SECURITY = """
listeners=PLAINTEXT://127.0.0.1:{port},{asking},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},{asking}
listener.security.protocol.map=\\
  PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL
sasl.enabled.mechanisms=SCRAM-SHA-512,PLAIN
listener.name.sasl_plaintext.scram-sha-512.sasl.jaas.config={login} required;
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config={login} required;
listener.name.sasl_plaintext.plain.sasl.jaas.config={plain};
listener.name.sasl_ssl.plain.sasl.jaas.config={plain};
ssl.keystore.type=PEM
ssl.keystore.location={keys}
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
allow.everyone.if.no.acl.found=false
"""
MECHANISM = "SCRAM-SHA-512"


def certificate(folder: Path) -> tuple[Path, Path]:
    """(certificate, key) for 127.0.0.1, signed by itself and good for a day."""
    found = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1",
         "-subj", "/CN=pctstream-test", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost",
         "-addext", "basicConstraints=critical,CA:TRUE",
         "-out", str(found[0]), "-keyout", str(found[1])],
        check=True, capture_output=True,
    )  # fmt: skip
    return found


class SecuredBroker(LocalBroker):
    """Listens openly, with SCRAM (`sasl`), and with SCRAM over TLS (`tls`)."""

    def __init__(self, folder: Path, plain: dict[str, str]) -> None:
        """``plain``: the passwords of those who may use SASL/PLAIN too."""
        self._plain = plain
        super().__init__(folder, heap_mb=384)
        folder.mkdir(parents=True, exist_ok=True)
        self.certificate, self.key = certificate(folder)
        self._keys = folder / "keys.pem"
        self._keys.write_text(self.key.read_text() + self.certificate.read_text())
        first = free_port(2)
        self.sasl, self.tls = f"127.0.0.1:{first}", f"127.0.0.1:{first + 1}"

    def _properties(self, controller: int) -> str:
        return super()._properties(controller) + _SECURITY.format(
            port=self.port, controller=controller, keys=self._keys,
            asking=f"SASL_PLAINTEXT://{self.sasl},SASL_SSL://{self.tls}",
            plain=" ".join([
                "org.apache.kafka.common.security.plain.PlainLoginModule required",
                *(f'user_{name}="{password}"' for name, password in self._plain.items()),
            ]),
            login="org.apache.kafka.common.security.scram.ScramLoginModule",
        )  # fmt: skip

    @cached_property
    def admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})

    def user(self, name: str, password: str) -> None:
        info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        asked = [UserScramCredentialUpsertion(name, info, password.encode())]
        self.admin.alter_user_scram_credentials(asked)[name].result(10)

    def client(
        self, name: str, password: str, tls: bool, mechanism: str = MECHANISM
    ) -> dict[str, Any]:
        """What `kafka.client` is to hold."""
        given = {"sasl.mechanism": mechanism, "sasl.username": name, "sasl.password": password,
                 "security.protocol": "SASL_SSL" if tls else "SASL_PLAINTEXT"}  # fmt: skip
        return given | ({"ssl.ca.location": str(self.certificate)} if tls else {})

    def allow(self, name: str, rights: Iterable[Right]) -> None:
        for future in self.admin.create_acls(list(bindings(name, rights))).values():
            future.result(10)

    def forbid(self, name: str, rights: Iterable[Right]) -> None:
        filters = [AclBindingFilter(*_fields(one)) for one in bindings(name, rights)]
        for future in self.admin.delete_acls(filters).values():
            assert future.result(10)


def bindings(name: str, rights: Iterable[Right]) -> Iterable[AclBinding]:
    for right in rights:
        for operation in right.operations:
            yield AclBinding(
                ResourceType[right.resource.upper()], right.name,
                ResourcePatternType.PREFIXED if right.prefix else ResourcePatternType.LITERAL,
                f"User:{name}", "*", AclOperation[_shouted(operation)], AclPermissionType.ALLOW,
            )  # fmt: skip


def _shouted(operation: str) -> str:
    """DescribeConfigs -> DESCRIBE_CONFIGS"""
    return "".join(f"_{c}" if c.isupper() and i else c for i, c in enumerate(operation)).upper()


def _fields(one: AclBinding) -> tuple[Any, ...]:
    return (one.restype, one.name, one.resource_pattern_type, one.principal, one.host,
            one.operation, one.permission_type)  # fmt: skip
