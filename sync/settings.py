"""The Sync Server's settings."""

from typing import ClassVar, Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from infra.runtime.log import LogLevel
from infra.runtime.settings import Settings
from infra.runtime.subscriptions import SUBSCRIPTIONS_MAX
from infra.runtime.topics import PREFIX_PATTERN
from sync.domain.parking import PARKED_EVENTS_MAX


class SyncSettings(Settings):
    """What the Sync Server can be told."""

    model_config = SettingsConfigDict(env_prefix="STATESET_SYNC_")
    program: ClassVar[str] = "python -m sync"

    database: str = "sqlite:///.stateset/sync.db"
    """Where the read model and the durable subscriptions are kept."""

    name: str = "sync-read-model"
    """Under which the log keeps what this server has still to read. Servers that share a database share the name; those
    with a database each need a name each."""

    grpc_address: str = "127.0.0.1:50052"
    """Where streams and reads are served."""

    admin_address: str = "127.0.0.1:9102"
    """Where /metrics is served."""

    http_address: str = "127.0.0.1:8080"
    """Where the gateway is: every RPC of the system as HTTP/JSON, streams as server-sent events and WebSocket."""

    http_origins: str = ""
    """Whose pages may use the gateway in a browser, beside its own: origins such as https://shop.example, with spaces
    between them."""

    http_connections_max: int = 25_000
    """Connections of HTTP at once, streams among them; who comes on top is answered 503. More admits more callers,
    and takes as many of the process's file descriptors."""

    order_address: str = "127.0.0.1:50051"
    """The Order Service whose log is followed, and whose RPCs the gateway offers."""

    risk_address: str = "127.0.0.1:50061"
    """The Risk whose RPCs the gateway offers."""

    portfolio_address: str = "127.0.0.1:50062"
    """The Portfolio whose RPCs the gateway offers."""

    analytics_address: str = "127.0.0.1:50063"
    """The Analytics whose RPCs the gateway offers."""

    bus: Literal["direct", "kafka"] = "direct"
    """What carries the log here: the Order Service's own stream, or Kafka. Positions are the same on either."""

    kafka_bootstrap_servers: str = ""
    """Where Kafka is, for the bus of that name."""

    kafka_client_config: str = ""
    """A file with what that Kafka's security asks of its clients: librdkafka's security.protocol, sasl.* and ssl.*, a
    name=value on each line; empty for a Kafka that is open to everybody."""

    topic_prefix: str = Field(default="", pattern=PREFIX_PATTERN)
    """What the names of the topics begin with."""

    ring_bytes_max: int = 64 * 1024 * 1024
    """Bytes of encoded events kept for streams. More serves slower streams without asking the Order Service again;
    it costs about twice as much memory."""

    streams_max: int = 20_000
    """Streams at once. More admits more subscribers; an idle one costs about 30 KB."""

    stream_seconds_max: float = 900.0
    """About how long a stream lasts, give or take a tenth, before GoAway sends its reader to open the next one. Less
    spreads readers over servers sooner, and opens more often."""

    subscriptions_max: int = SUBSCRIPTIONS_MAX
    """Durable subscriptions that are kept, for ever. More admit more names; each costs a row, and one per shard."""

    unacked_bytes_max: int = 16 * 1024 * 1024
    """Bytes of events that a stream has sent and that are not finished, where acks name events; then it is sent nothing
    more. More lets a slow one run further ahead, and may cost that much memory."""

    parked_events_max: int = PARKED_EVENTS_MAX
    """Events in the parking place of one subscription; then nothing more is set aside, and delivery pauses. More leaves
    more time to look after them; an open stream keeps about 200 bytes of each in mind."""

    breaker_outcomes: int = 20
    """Recent outcomes of events that decide whether a stream pauses. More makes it slower to pause, and surer."""

    breaker_retries_percent_max: int = 50
    """A stream pauses when a larger share of them is RETRY."""

    breaker_pause_seconds: float = 1.0
    """How long it then pauses, before one event is sent to try; each further pause is twice as long."""

    breaker_pause_seconds_max: float = 60.0
    """The longest such pause. Longer spares what is down, shorter notices sooner that it is up again."""

    catch_up_readers_max: int = 8
    """Streams that are served from the Order Service at once, as the ring no longer holds what they need. More catches
    them up sooner, and takes that much from the Order Service's commands."""

    staleness_seconds_max: float = 30.0
    """Beyond it the health service stateset.sync.v1.SyncService.fresh says NOT_SERVING. Less warns sooner, and more
    often of what heals by itself; reads are answered either way, and say how old they are."""

    snapshot_readers_max: int = 2
    """Chunks of snapshots that are read from the database at once. More sends several snapshots sooner, and takes that
    much from other reads and from what is recorded meanwhile."""

    log_level: LogLevel = "INFO"
    """DEBUG says more, WARNING less."""

    @property
    def origins(self) -> frozenset[str]:
        """Those of `http_origins`."""
        return frozenset(self.http_origins.split())
