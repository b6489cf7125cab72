"""Builds the compiled part as the package is installed; without a compiler it does without."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FLAGS = ("-std=c++17", "-fPIC", "-shared", "-Wall", "-Wextra")
# no contraction into fused multiply-adds: the numbers must be those of numpy, to the bit
LIBRARIES = {"native/libintergreen.so": ("-O3", "-ffp-contract=off")}
"""Each is built from the sources that lie beside it, with further flags."""


class CompiledPart(BuildHookInterface[Any]):
    """Calls the C++ compiler ($CXX, c++, g++ or clang++); where it fails, everything has a way round."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Before a wheel or an editable install is put together."""
        del version
        root = Path(self.root)
        build_data["pure_python"] = True  # it is the checkout's own, and runs without the library, too
        compiler = next(filter(shutil.which, (os.environ.get("CXX", ""), "c++", "g++", "clang++")), None)
        if compiler is None or not sys.platform.startswith("linux"):
            self.app.display_warning("no C++ compiler found: environments will be slower")
            return
        for library, flags in LIBRARIES.items():
            self.build_library(compiler, root / library, flags)

    def build_library(self, compiler: str, library: Path, flags: tuple[str, ...]) -> None:
        """One library, whole or not at all."""
        partial = library.with_name(f"{library.name}.{os.getpid()}")
        sources = sorted([*library.parent.glob("*.cpp"), *library.parent.glob("*.h")])
        # whoever loads it asks for it: a library of other sources than those that lie beside it is not used
        digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
        said = f'-DSOURCES="{digest}"'
        command = [compiler, *FLAGS, *flags, said, "-o", str(partial)]
        command += [*(str(path) for path in sources if path.suffix == ".cpp"), "-ldl"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            partial.unlink(missing_ok=True)
            self.app.display_warning(
                f"{compiler} failed, {library.name} is missing and things will be slower:\n{done.stderr[-2000:]}"
            )
            return
        partial.replace(library)
