"""Whether a bundle is for the network that there is: what `export.py verify` compares beyond the bundle itself."""

from __future__ import annotations

from pathlib import Path

from deployment.bundle.read import Bundle
from deployment.nema.codec import encode
from plumbing.digest import file_sha256
from plumbing.errors import InputError
from scenarios.scenario import Scenario
from signals.intersection import compile_signals


def check_network(bundle: Bundle, file: Path | None, scenario: Scenario | None) -> None:
    """Compare a bundle with a network file and with a scenario, as far as they are given.

    Raises:
        InputError: the file cannot be read, the network is another one, or the signal has another program there.
    """
    for network in filter(None, (file, scenario.net_file if scenario else None)):
        try:
            digest = file_sha256(network)
        except OSError as error:
            raise InputError(f"cannot read {network}: {error.strerror}; check the path") from error
        if digest != bundle.manifest.network_sha256:
            raise InputError(
                f"bundle {bundle.path} is for another network than {network}: their SHA-256 differ; "
                f"train and export for this one"
            )
    if scenario is not None:
        compiled = compile_signals(scenario.network, bundle.timing).only([bundle.manifest.tls_id]).intersections[0]
        if encode(compiled) != encode(bundle.intersection):
            raise InputError(
                f"bundle {bundle.path}: signal {bundle.manifest.tls_id!r} of scenario {scenario.name} has another "
                f"program by now; train and export again"
            )
