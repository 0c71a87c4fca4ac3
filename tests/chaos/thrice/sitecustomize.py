"""Makes every Celery message come three times: Python runs this at its start wherever its folder is on the path.

Kombu takes no transport's path from a broker's URL, and a stack chooses its broker's port by itself, so what the name
``redis`` stands for is changed instead; no setting of the platform and no line of it is another than in production.
"""

from __future__ import annotations

from kombu.transport import TRANSPORT_ALIASES

TRANSPORT_ALIASES["redis"] = "thrice_transport:Transport"
