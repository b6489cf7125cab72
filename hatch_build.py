"""Builds the compiled part of envs while the package is installed; without a compiler it installs without."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCES, LIBRARY = "envs/native/*.cpp", "envs/native/libintergreen.so"
# no contraction into fused multiply-adds: the numbers must be those of numpy, to the bit
FLAGS = ("-O2", "-std=c++17", "-fPIC", "-shared", "-ffp-contract=off", "-Wall", "-Wextra")


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
            self.app.display_warning("no C++ compiler found: the environments will be a little slower")
            return
        partial = root / f"{LIBRARY}.{os.getpid()}"
        sources = sorted(root.glob(SOURCES))
        # envs/getters.py asks for it: a library of other sources than those that lie beside it is not used
        digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
        command = [compiler, *FLAGS, f'-DSOURCES="{digest}"', "-o", str(partial), *map(str, sources), "-ldl"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            partial.unlink(missing_ok=True)
            self.app.display_warning(
                f"{compiler} failed, the environments will be a little slower:\n{done.stderr[-2000:]}"
            )
            return
        partial.replace(root / LIBRARY)
