"""Which revisions there are is told by the names of their files, without alembic, which is slow to load."""

from pathlib import Path

import pytest
from alembic.script import ScriptDirectory

from consumers.cli.system import SERVICES, Service
from infra.runtime import schema


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_a_revision_is_named_after_its_service_and_its_file(service: Service) -> None:
    environment = str(Path(schema.__file__).parent / "migrate")
    scripts = ScriptDirectory(environment, version_locations=[str(service.migrations)])
    newest_first = [script.revision for script in scripts.walk_revisions()]
    assert newest_first[::-1] == schema.revisions(service.migrations)
