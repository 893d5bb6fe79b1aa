"""As a Sphinx extension: what makes it read and write our pages sooner, and the same ones.

Pages are written on all processors, once all of them are read. Jupyter Book hands Sphinx no number
of processes, and with one from the start Sphinx would want to read with as many, too, and warn of
each extension that cannot be read so; a warning ends our build.
"""

from __future__ import annotations

import gc
import os
from typing import Any

#: Objects made, and not freed, before Python looks for circles among the young, the older and the
#: oldest. By default it walks through the trees of all pages again and again, a quarter of the
#: time, and finds little.
RARELY = (500_000, 20, 100)


def setup(app: Any) -> dict[str, bool]:
    """Have Sphinx write on all processors, and Python look for garbage rarely."""
    gc.set_threshold(*RARELY)

    def all_processors(app: Any, _env: Any) -> None:
        app.parallel = os.cpu_count() or 1

    app.connect("env-updated", all_processors)
    return {"parallel_read_safe": True}
