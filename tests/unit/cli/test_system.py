"""How the services of a system are started."""

from pathlib import Path

import pytest

from consumers.cli.database import Postgres
from consumers.cli.system import SERVICES, Plan, Service

ADDRESSES = {service.name: "127.0.0.1:1" for service in SERVICES}
URL = "postgresql://stateset:s3cret@db.example:5432/orders"


async def is_ready() -> bool:
    return True


def plan(postgres: Postgres | None) -> Plan:
    return Plan(data_dir=Path("data"), grpc=ADDRESSES, admin=ADDRESSES, http="127.0.0.1:1", postgres=postgres)


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_a_password_is_in_no_command_line(service: Service) -> None:
    program = plan(Postgres(url=URL)).program(service, is_ready)
    assert [part for part in program.command if "s3cret" in part] == []
    assert program.environment == {f"STATESET_{service.name.upper()}_DATABASE": URL}


def test_without_a_server_each_service_has_a_file() -> None:
    urls = [url for service in SERVICES for url in plan(None).program(service, is_ready).environment.values()]
    assert urls == [f"sqlite:///data/{service.name}.db" for service in SERVICES]
