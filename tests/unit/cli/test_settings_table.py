import pytest

from consumers.analytics.settings import AnalyticsSettings
from consumers.cli.system import SERVICES
from consumers.portfolio.settings import PortfolioSettings
from consumers.risk.settings import RiskSettings
from infra.runtime.settings import Settings
from order.settings import OrderSettings
from sync.settings import SyncSettings


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("order", OrderSettings),
        ("sync", SyncSettings),
        ("risk", RiskSettings),
        ("portfolio", PortfolioSettings),
        ("analytics", AnalyticsSettings),
    ],
)
def test_the_command_line_knows_every_setting_of_every_service(name: str, settings: type[Settings]) -> None:
    [service] = [each for each in SERVICES if each.name == name]
    assert service.settings == {field.upper() for field in settings.model_fields}
    assert settings.model_config.get("env_prefix", "").upper() == f"STATESET_{name.upper()}_"
