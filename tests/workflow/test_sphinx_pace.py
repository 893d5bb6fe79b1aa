"""Sphinx writes on all processors, but not before all is read."""

import gc
import os

from workflow import sphinx_pace


class App:
    """What the extension sees of Sphinx."""

    def __init__(self):
        self.parallel, self.asked = 1, {}

    def connect(self, event, call):
        self.asked[event] = call


def test_sphinx_reads_on_one_processor_and_writes_on_all():
    before = gc.get_threshold()
    try:
        app = App()
        said = sphinx_pace.setup(app)
        assert gc.get_threshold() == sphinx_pace.RARELY and gc.isenabled()
    finally:
        gc.set_threshold(*before)
    assert said == {"parallel_read_safe": True}
    assert app.parallel == 1 and list(app.asked) == ["env-updated"]
    assert app.asked["env-updated"](app, None) is None  # no page is to be read again
    assert app.parallel == os.cpu_count()
