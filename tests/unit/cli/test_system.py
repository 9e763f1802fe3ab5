"""How the services of a system are started."""

from pathlib import Path

import pytest
from sqlalchemy import make_url

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
    [worker] = plan(Postgres(url=URL)).workers(service)
    program = plan(Postgres(url=URL)).program(service, worker, is_ready)
    assert [part for part in program.command if "s3cret" in part] == []
    assert program.environment == {f"STATESET_{service.name.upper()}_DATABASE": URL}


def test_a_file_is_told_so_that_the_folder_may_have_any_name() -> None:
    plan = Plan(data_dir=Path("/tmp/q?m=%41"), grpc=ADDRESSES, admin=ADDRESSES, http="127.0.0.1:1")  # noqa: S108 - a name
    for service in SERVICES:
        [worker] = plan.workers(service)
        [url] = plan.program(service, worker, is_ready).environment.values()
        assert make_url(url).database == str(plan.file(service))


def test_without_a_server_each_service_has_a_file() -> None:
    alone = plan(None)
    programs = [alone.program(each, worker, is_ready) for each in SERVICES for worker in alone.workers(each)]
    urls = [url for program in programs for url in program.environment.values()]
    assert urls == [f"sqlite:///data/{service.name}.db" for service in SERVICES]
