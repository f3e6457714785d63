"""Build-time code that draws the Grafana dashboards; nothing of it runs with the service."""

from __future__ import annotations

import warnings

with warnings.catch_warnings():
    # The SDK recommends Grafana's dashboard schema v2; the classic one is what every Grafana in use can load.
    warnings.simplefilter("ignore", DeprecationWarning)
    from dashboards.builder.files import build

__all__ = ["build"]
