"""A real broker for the tests that need one: one for the whole session, and a topic prefix for each test."""

import os
import secrets
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.runtime.kafka.cluster import Cluster
from infra.runtime.kafka.local.broker import HOST, Installation, LocalBroker, serves
from infra.runtime.kafka.local.java import NoLocalKafkaError
from tests.harness.async_calls import call_async
from tests.harness.parts import missing
from tests.harness.ports import free_ports

IMAGE = "apache/kafka:4.3.1"
_READY_SECONDS = 120.0  # five by itself; sixty were needed once on a machine with six others at work
_POLL_SECONDS = 0.1
_STOP_SECONDS = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Kafka:
    """A broker, and a prefix that makes the test's topics its own."""

    servers: str
    prefix: str

    @property
    def cluster(self) -> Cluster:
        """The broker as our clients are told of it."""
        return Cluster(servers=self.servers)


class BrokerProcess:
    """A local broker under a test's control; killed or stopped, it can be started again on the same port."""

    def __init__(self, broker: LocalBroker, log: Path) -> None:
        self.address = broker.address
        self.folder = broker.folder
        self._command = broker.program().command
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """That of the JVM."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Returns as soon as it takes records."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        await_broker(self.address, lambda: self._process is not None and self._process.poll() is None, self._log)

    def kill(self) -> None:
        """As a machine that loses its power."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """As an operator would."""
        self._end(signal.SIGTERM)

    def freeze(self) -> None:
        """Stops it in the middle of what it does; its connections stay open."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Lets it go on as if nothing had happened."""
        os.kill(self.pid, signal.SIGCONT)

    def _end(self, number: int) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        process.send_signal(signal.SIGCONT)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


@contextmanager
def local_broker(folder: Path) -> Iterator[BrokerProcess]:
    """A broker of the test's own, serving; without Java or Maven the test is skipped, and fails in CI."""
    port, controller_port = free_ports(2)
    broker = LocalBroker(
        installation=installed(folder), folder=folder / "kafka", port=port, controller_port=controller_port
    )
    with serving(broker) as process:
        yield process


def installed(folder: Path) -> Installation:
    """What a broker runs on, complete; without Java or Maven the test is skipped, and fails in CI."""
    try:
        installation = Installation.find(folder, os.environ)
    except NoLocalKafkaError as error:
        missing("Kafka", str(error))
    installation.complete(os.environ)
    return installation


@contextmanager
def serving(broker: LocalBroker) -> Iterator[BrokerProcess]:
    """The broker's process while the context lasts; it logs beside its folder."""
    process = BrokerProcess(broker, broker.folder.with_suffix(".log"))
    try:
        process.start()
        yield process
    finally:
        process.stop()


@pytest.fixture(scope="session")
def kafka_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The session's broker: the one of STATESET_KAFKA_BOOTSTRAP_SERVERS, else a container, else a local JVM."""
    given = os.environ.get("STATESET_KAFKA_BOOTSTRAP_SERVERS")
    with ExitStack() as stack:
        if given:
            yield given
        elif docker_answers():
            yield stack.enter_context(container_broker())
        else:
            yield stack.enter_context(local_broker(tmp_path_factory.mktemp("broker"))).address


@pytest.fixture
def kafka(kafka_servers: str) -> Kafka:
    """The session's broker with topics that no other test has."""
    return Kafka(servers=kafka_servers, prefix=f"t{secrets.token_hex(6)}.")


def docker_answers() -> bool:
    """Whether there is an engine to run containers. Asked of the command, since docker-py leaks a socket when not."""
    try:
        return subprocess.run(["docker", "version"], capture_output=True, timeout=10, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


@contextmanager
def container_broker() -> Iterator[str]:
    """The image of docker-compose.yml; its port here is the one that it tells its clients."""
    from testcontainers.core.container import DockerContainer  # noqa: PLC0415 - slow to load, and most runs have no engine

    [port] = free_ports(1)
    container = DockerContainer(IMAGE).with_bind_ports(9092, port)
    settings = {
        "NODE_ID": "1",
        "PROCESS_ROLES": "broker,controller",
        "LISTENERS": "PLAINTEXT://:9092,CONTROLLER://:9093",
        "ADVERTISED_LISTENERS": f"PLAINTEXT://{HOST}:{port}",
        "CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "LISTENER_SECURITY_PROTOCOL_MAP": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        "CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "AUTO_CREATE_TOPICS_ENABLE": "false",
    }
    for key, value in settings.items():
        container = container.with_env(f"KAFKA_{key}", value)
    with container:
        await_broker(f"{HOST}:{port}")
        yield f"{HOST}:{port}"


def await_broker(address: str, lives: Callable[[], bool] = lambda: True, log: Path | None = None) -> None:
    """Returns once a broker takes records there; fails when it dies first, or when the time is up."""
    deadline = time.monotonic() + _READY_SECONDS
    while not call_async(lambda: serves(address)):
        said = log.read_text()[-2000:] if log else ""
        assert lives(), f"the broker died: {said}"
        assert time.monotonic() < deadline, f"no broker at {address} within {_READY_SECONDS} s: {said}"
        time.sleep(_POLL_SECONDS)  # asking takes the machine from who is asked
