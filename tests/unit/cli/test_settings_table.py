import pytest

from consumers.analytics.settings import AnalyticsSettings
from consumers.cli.system import SERVICES
from consumers.portfolio.settings import PortfolioSettings
from consumers.risk.settings import RiskSettings
from infra.runtime.lifespan import StartupError
from infra.runtime.settings import Settings
from order.settings import OrderSettings
from sync.settings import SyncSettings

each_service = pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("order", OrderSettings),
        ("sync", SyncSettings),
        ("risk", RiskSettings),
        ("portfolio", PortfolioSettings),
        ("analytics", AnalyticsSettings),
    ],
)


@each_service
def test_the_command_line_knows_every_setting_of_every_service(name: str, settings: type[Settings]) -> None:
    [service] = [each for each in SERVICES if each.name == name]
    assert service.settings == {field.upper() for field in settings.model_fields}
    assert settings.model_config.get("env_prefix", "").upper() == f"STATESET_{name.upper()}_"


@each_service
def test_no_service_starts_with_a_log_level_that_there_is_not(name: str, settings: type[Settings]) -> None:
    with pytest.raises(StartupError, match=f"python -m .*{name}: log_level: Input should be 'DEBUG', 'INFO'"):
        settings.load(["--log-level", "loud"])


@pytest.mark.parametrize("settings", [OrderSettings, SyncSettings])
@pytest.mark.parametrize("prefix", ["a b", "x" * 226, "eu/", "eu\n"])
def test_no_service_starts_with_a_prefix_that_no_topic_can_have(settings: type[Settings], prefix: str) -> None:
    with pytest.raises(StartupError, match="topic_prefix: String should match pattern"):
        settings.load(["--topic-prefix", prefix])
