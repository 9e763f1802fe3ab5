"""What Analytics can be told."""

from typing import ClassVar

from pydantic_settings import SettingsConfigDict

from consumers.runner import ConsumerSettings


class AnalyticsSettings(ConsumerSettings):
    """Analytics: folds order events into figures by day, and answers queries about them."""

    model_config = SettingsConfigDict(env_prefix="STATESET_ANALYTICS_")
    program: ClassVar[str] = "python -m consumers.analytics"

    database: str = "sqlite:///.stateset/analytics.db"
    """URL of Analytics' own database."""
    grpc_address: str = "127.0.0.1:50063"
    """Where it answers queries: host:port."""
    admin_address: str = "127.0.0.1:9105"
    """Where it serves /metrics: host:port."""
