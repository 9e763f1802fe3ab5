"""What the portfolio can be told."""

from typing import ClassVar

from pydantic_settings import SettingsConfigDict

from consumers.runner import ConsumerSettings


class PortfolioSettings(ConsumerSettings):
    """Portfolio: folds order events into holdings and cash, and answers queries about them."""

    model_config = SettingsConfigDict(env_prefix="STATESET_PORTFOLIO_")
    program: ClassVar[str] = "python -m consumers.portfolio"

    database: str = "sqlite:///.stateset/portfolio.db"
    """URL of the portfolio's own database."""
    grpc_address: str = "127.0.0.1:50062"
    """Where it answers queries: host:port."""
    admin_address: str = "127.0.0.1:9104"
    """Where it serves /metrics: host:port."""
