"""A broker that listens once more where everything is encrypted and a password is asked for."""

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from infra.runtime.kafka.local.__main__ import become
from infra.runtime.kafka.local.broker import HOST, Installation, LocalBroker
from infra.runtime.supervisor import Program

PASSWORD = "s#cr=t"  # noqa: S105 - of a broker that lives for a test
_STORE_PASSWORD = "of-the-store"  # noqa: S105 - as above


@dataclass(frozen=True, kw_only=True)
class SecuredBroker(LocalBroker):
    """As a `LocalBroker`, which its open listener is for, with SASL and TLS on a third port."""

    secured_port: int

    @property
    def secured_address(self) -> str:
        """What clients with a password are told."""
        return f"{HOST}:{self.secured_port}"

    @property
    def certificate(self) -> Path:
        """The broker's own, which clients trust."""
        return self.folder / "broker.pem"

    def program(self) -> Program:
        """See `LocalBroker.program`."""
        made = super().program()
        return replace(made, command=(sys.executable, "-m", __name__, *made.command[4:], str(self.secured_port)))

    def configuration(self) -> str:
        """See `LocalBroker.configuration`; of a key that is there twice, the last one counts."""
        return super().configuration() + "".join(f"{key}={value}\n" for key, value in self._security().items())

    def make_certificate(self) -> None:
        """Before the broker starts."""
        self.folder.mkdir(parents=True)
        keytool = (str(self.installation.java.with_name("keytool")), "-keystore", str(self._store), "-alias", "broker")
        password = ("-storetype", "PKCS12", "-storepass", _STORE_PASSWORD)
        name = ("-keyalg", "RSA", "-dname", "CN=localhost", "-ext", f"san=ip:{HOST}")
        for command in (("-genkeypair", *name), ("-exportcert", "-rfc", "-file", str(self.certificate))):
            subprocess.run([*keytool, *password, *command], check=True, capture_output=True, timeout=60)

    def client_config(self, path: Path, **changes: str | None) -> str:
        """Writes the file that lets a client in, with changes by name, `_` for a dot; None leaves a line out."""
        lines: dict[str, str | None] = {
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": "PLAIN",
            "sasl_username": "stateset",
            "sasl_password": PASSWORD,
            "ssl_ca_location": str(self.certificate),
            **changes,
        }
        written = (f"{name.replace('_', '.')}={value}\n" for name, value in lines.items() if value is not None)
        path.write_text("# who we are\n" + "".join(written))
        return str(path)

    @property
    def _store(self) -> Path:
        return self.folder / "broker.p12"

    def _security(self) -> Mapping[str, str]:
        login = "org.apache.kafka.common.security.plain.PlainLoginModule"
        listening = f"PLAINTEXT://{self.address},SASL_SSL://{self.secured_address}"
        return {
            "listeners": f"{listening},CONTROLLER://{HOST}:{self.controller_port}",
            "advertised.listeners": listening,
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL",
            "sasl.enabled.mechanisms": "PLAIN",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "allow.everyone.if.no.acl.found": "true",
            "super.users": "User:ANONYMOUS",  # whoever comes by the open listener, the broker itself among them
            "listener.name.sasl_ssl.plain.sasl.jaas.config": f'{login} required user_stateset="{PASSWORD}";',
            "ssl.keystore.type": "PKCS12",
            "ssl.keystore.location": str(self._store.absolute()),
            "ssl.keystore.password": _STORE_PASSWORD,
        }


def main(arguments: list[str]) -> int:
    """Turns into the broker of the arguments; returns only if that cannot be."""
    java, jars, folder, *ports = arguments
    port, controller_port, secured_port = map(int, ports)
    return become(
        SecuredBroker(
            installation=Installation(java=Path(java), maven=None, jars=Path(jars)),
            folder=Path(folder),
            port=port,
            controller_port=controller_port,
            secured_port=secured_port,
        )
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
