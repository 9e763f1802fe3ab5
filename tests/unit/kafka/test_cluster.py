from pathlib import Path

import pytest

from infra.runtime.kafka.cluster import Cluster
from infra.runtime.lifespan import StartupError

SECRET = "hunter2"  # noqa: S105 - nobody's


def read(folder: Path, text: str) -> Cluster:
    file = folder / "kafka.properties"
    file.write_text(text)
    return Cluster.read("broker:9092", str(file))


def test_a_file_says_how_clients_are_let_in(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        "# ours\n\n  security.protocol = SASL_PLAINTEXT \nsasl.mechanism=PLAIN\nsasl.username=me\n"
        f"sasl.password=#={SECRET}\nclient.rack=a\n",
    )
    assert found.access == {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "me",
        "sasl.password": f"#={SECRET}",
        "client.rack": "a",
    }
    assert found.client(print).items() >= {**found.access, "bootstrap.servers": "broker:9092"}.items()
    assert SECRET not in repr(found)


def test_without_a_file_a_kafka_is_open_to_everybody() -> None:
    assert Cluster.read("broker:9092", "") == Cluster(servers="broker:9092")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"security.protocol=SASL_SSL\n{SECRET}\n", "line 2: there is no `=`"),
        (f"{SECRET}==\n", "line 1: its name is not among security.protocol, "),
        (f"acks={SECRET}", "line 1: its name is not among security.protocol, "),
        (f"sasl.password={SECRET}", "it names no security.protocol"),
        (f"security.protocol={SECRET}", 'librdkafka refuses it: Invalid value that is set for .* "security.protocol"'),
        (f"security.protocol=SSL\nssl.truststore.location={SECRET}", "Java TrustStores are not supported"),
        (f"security.protocol=SSL\nssl.no.such={SECRET}", 'No such configuration property: "ssl.no.such"'),
        (f"security.protocol=SSL\nssl.key.pem={SECRET}", "ssl.key.pem failed"),
        (f"security.protocol=SASL_SSL\nsasl.mechanism=PLAIN\nsasl.password={SECRET}", "sasl.username .* must be set"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_one_line_without_a_value(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(StartupError, match=f"^{tmp_path}/kafka.properties[,:] .*{why}") as refused:
        read(tmp_path, text)
    assert SECRET not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_cannot_be_read_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"sasl.password=\xe9")
    for name, why in (("none", "No such file or directory"), (".", "Is a directory"), ("latin", "it is not UTF-8")):
        with pytest.raises(StartupError, match=f"^cannot read the Kafka client configuration .* \\({why}\\): "):
            Cluster.read("broker:9092", str(tmp_path / name))
