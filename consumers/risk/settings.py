"""What Risk can be told."""

from typing import ClassVar

from pydantic_settings import SettingsConfigDict

from consumers.runner import ConsumerSettings


class RiskSettings(ConsumerSettings):
    """Risk: folds order events into exposures, and answers queries about them."""

    model_config = SettingsConfigDict(env_prefix="STATESET_RISK_")
    program: ClassVar[str] = "python -m consumers.risk"

    database: str = "sqlite:///.stateset/risk.db"
    """URL of Risk's own database."""
    grpc_address: str = "127.0.0.1:50061"
    """Where it answers queries: host:port."""
    admin_address: str = "127.0.0.1:9103"
    """Where it serves /metrics: host:port."""
