"""What tests of branches and of learning from forks share."""

from __future__ import annotations

import sys

import pytest

forked = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a fork with SUMO in it needs Linux's /proc")
"""On Linux these run, so that branches which have stopped working there do not pass."""
