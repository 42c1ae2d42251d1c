"""Over which windows is summed, and how often.

``increase`` reads every sample of its window, so what it costs grows with the window: of 3 models with 20
features, 14 bins each, from 3 replicas scraped every 15 s, 0.6 million samples are in an hour and 15 million
in a day. What a long window shows moves slowly, so it is looked at less often; every interval is shorter than
the five minutes after which Prometheus takes a series that was not written again for gone.
"""

from __future__ import annotations

from collections.abc import Mapping

OFTEN = "30s"
"""How often what alerts page on is evaluated."""
INTERVALS: Mapping[str, str] = {"5m": OFTEN, "30m": OFTEN, "1h": OFTEN, "6h": "2m", "24h": "4m"}
"""How often what is summed over a window is evaluated."""
DRIFT = ("1h", "6h", "24h")
"""Windows of distributions; as ``GET /drift`` has them."""
BURN = ("5m", "30m", "1h", "6h")
"""Windows of what eats up a budget: one long, one short for each speed."""
