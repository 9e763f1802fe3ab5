"""Settings of the Order Service."""

from typing import ClassVar, Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from infra.kernel.shard import SHARDS_MAX
from infra.runtime.log import LogLevel
from infra.runtime.settings import Settings
from infra.runtime.subscriptions import SUBSCRIPTIONS_MAX
from infra.runtime.topics import PREFIX_PATTERN


class OrderSettings(Settings):
    """Options of `python -m order`, or STATESET_ORDER_… in the environment."""

    model_config = SettingsConfigDict(env_prefix="STATESET_ORDER_")
    program: ClassVar[str] = "python -m order"

    database: str = "sqlite:///.stateset/order.db"
    """Where orders and their log are kept: sqlite:///path/to/file.db, or postgresql://user@host/database."""
    grpc_address: str = "127.0.0.1:50051"
    """Where gRPC listens."""
    grpc_shared_address: str = ""
    """Where gRPC listens as well, together with other Order Services on the same PostgreSQL, which are dealt the new
    connections; empty for nowhere."""
    admin_address: str = "127.0.0.1:9101"
    """Where /metrics is served."""
    shards: int = Field(default=12, ge=1, le=SHARDS_MAX)
    """Shards of a new log, for ever. More let more consumers work side by side, and lengthen every position."""
    acceptance: Literal["manual", "automatic", "risk"] = "manual"
    """Whether an order waits for AcceptOrder, is accepted as it is placed, or is judged then by the limits below, which
    also refuse amendments that would take it above them."""
    order_total_max: dict[str, int] = Field(default_factory=dict)
    """With acceptance=risk: by currency, the largest total in minor units, such as USD=500000. Others have none."""
    line_quantity_max: int = Field(default=0, ge=0)
    """With acceptance=risk: the most units of one line; 0 for any number."""
    restricted_products: list[str] = Field(default_factory=list)
    """With acceptance=risk: products that may not be ordered."""
    late_fills: Literal["refuse", "accept-from-canceled"] = "refuse"
    """What becomes of a fill of a closed order: refused, or taken from the units that were canceled."""
    group_commands_max: int = Field(default=256, ge=1)
    """Commands committed together at most. More cost less each under load; the first of them waits longer."""
    queue_commands_max: int = Field(default=4096, ge=1)
    """Commands that may wait. More ride out a longer stall of the database; fewer refuse sooner under overload."""
    subscriptions_max: int = Field(default=SUBSCRIPTIONS_MAX, ge=1)
    """Durable subscriptions to the log that are kept, for ever. More admit more names; each costs a row, and one per
    shard."""
    log_retention_hours: float = Field(default=0, ge=0)
    """For how long events are kept at least; 0 for ever. Those that some reader has not confirmed are kept longer. Less
    saves room, and shortens what a new reader, or a history, can go back to."""
    kafka_bootstrap_servers: str = ""
    """Where the log is published; empty for nowhere. The topics are there first: `stateset topics apply`."""
    kafka_client_config: str = ""
    """A file with what that Kafka's security asks of its clients: librdkafka's security.protocol, sasl.* and ssl.*, a
    name=value on each line; empty for a Kafka that is open to everybody."""
    topic_prefix: str = Field(default="", pattern=PREFIX_PATTERN)
    """What the topics' names begin with, so that several logs can share a broker."""
    log_level: LogLevel = "INFO"
    """Least severity of a log line."""
