"""What `test_leaks.py` runs in a process of its own: napari's fixture wants no other window in it."""

import gc
import weakref

from napari_flex3d.ui.motion_surface import LAYER
from napari_flex3d.ui.session import Session
from napari_flex3d.ui.view import Docks

LONG = 60_000


def test_nothing_outlives_a_window_with_all_docks(qtbot, make_napari_viewer, toy_session, toy_jobs):
    viewer = make_napari_viewer(show=True, strict_qt="raise")
    docks = Docks(viewer, Session.of(viewer))
    session = docks.session
    session.open(toy_jobs["reconstruct"])
    qtbot.waitUntil(lambda: session.is_ready and session.model is not None, timeout=LONG)
    docks.widgets["Reconstruct"].show_layers()
    train = docks.widgets["Train"].panel
    train.form.fill({"epochs": 2})
    with qtbot.waitSignal(session.run_ended, timeout=LONG):
        train.start_button.click()
    qtbot.waitUntil(lambda: session.explorer.model is session.model, timeout=LONG)
    motions = docks.widgets["Train"].motions
    with qtbot.waitSignal(session.run_ended, timeout=LONG):
        motions.run.start_button.click()
    motions.show_buttons[0].click()
    qtbot.waitUntil(lambda: LAYER in viewer.layers, timeout=LONG)
    layers = [weakref.ref(layer) for layer in viewer.layers]
    assert len(layers) > 1
    viewer.close()
    qtbot.waitUntil(lambda: session.viewer is None, timeout=LONG)  # Qt has deleted the window
    qtbot.wait(100)
    del docks, session, train, motions, viewer
    gc.collect()
    assert [layer() for layer in layers if layer() is not None] == []
