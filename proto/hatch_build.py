"""Build hook: turns the .proto files into Python types and a descriptor set under `gen/`, beside copies."""

import os
import shutil
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class GenerateTypes(BuildHookInterface):
    """Regenerates `gen/stateset` from scratch on every build, so that no stale type survives."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling's signature
        root = Path(self.root)
        with tempfile.TemporaryDirectory(dir=root, prefix=".gen-") as name:
            made = Path(name) / "gen"
            made.mkdir()
            self._generate(root, made)
            if _files(made) != _files(root / "gen"):  # programs may be running on them: they are never half there
                with suppress(FileNotFoundError):
                    (root / "gen").rename(Path(name) / "before")
                made.rename(root / "gen")

    def _generate(self, root: Path, gen: Path) -> None:
        import google.api.annotations_pb2 as google_api  # noqa: PLC0415 - a build requirement, absent at import in sdist tools
        import grpc_tools  # noqa: PLC0415 - as above
        from grpc_tools import protoc  # noqa: PLC0415 - as above

        # The mypy plugins lie beside the interpreter of the isolated build, which is not on the PATH.
        os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        google = Path(google_api.__file__).parent.parent
        # buf knows no wheels: google's files lie beside ours, ignored by git. Ours import all but the last, by which
        # whoever is given the descriptors can read what a Status holds.
        for name in ("api/annotations.proto", "api/http.proto", "rpc/status.proto", "rpc/error_details.proto"):
            (root / "google" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(google / name, root / "google" / name)
        sources = sorted(str(path.relative_to(root)) for path in root.glob("stateset/**/*.proto"))
        arguments = [
            "protoc",
            f"-I{root}",
            f"-I{Path(grpc_tools.__file__).parent / '_proto'}",
            f"--python_out={gen}",
            f"--grpc_python_out={gen}",
            f"--mypy_out=quiet:{gen}",
            f"--mypy_grpc_out=quiet:{gen}",
            "--include_imports",
            "--include_source_info",  # the comments, for the OpenAPI document
            f"--descriptor_set_out={gen / 'stateset.binpb'}",
            *sources,
        ]
        if protoc.main(arguments) != 0:
            message = "protoc refused the contracts; its message is above"
            raise RuntimeError(message)
        shutil.move(gen / "stateset.binpb", gen / "stateset" / "descriptors.binpb")
        for source in sources:  # as text, beside their types: for documents, and for tools of other languages
            shutil.copy(root / source, gen / source)
        (gen / "stateset" / "py.typed").touch()


def _files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
