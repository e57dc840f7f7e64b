import pytest
from napari.utils.theme import get_theme
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_flex3d.ui.keys import Key
from napari_flex3d.ui.monitor import LOSS, MOTION
from napari_flex3d.ui.scatter import INK
from napari_flex3d.ui.tone import COLORS, PLOT_GROUND, Sentence


def luminance(color: QColor) -> float:
    parts = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in color.getRgbF()[:3]]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def contrast(one: str, other: str) -> float:
    """Contrast ratio of WCAG 2: 4.5 is what text needs."""
    low, high = sorted(luminance(QColor(c)) for c in (one, other))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("tone", [tone for tone in COLORS if tone != "plain"])
def test_every_tone_can_be_read_on_every_theme(theme, tone):
    ground = get_theme(theme).background.as_hex()
    assert contrast(COLORS[tone][theme == "light"], ground) >= 4.5


def test_curves_and_axes_can_be_read_on_their_ground():
    for color in (INK, *(color for _, color, _ in (*LOSS.values(), *MOTION.values()))):
        assert contrast(color, PLOT_GROUND) >= 4.5


def test_a_sentence_follows_a_change_of_theme(qtbot, viewer):
    dock, sentence = QWidget(), Sentence()
    QVBoxLayout(dock).addWidget(sentence)
    viewer.window.add_dock_widget(dock)
    sentence.say("The mask is empty.", bad=True)
    try:
        for theme, column in (("light", 1), ("dark", 0)):
            viewer.theme = theme
            qtbot.waitUntil(lambda column=column: COLORS["bad"][column] in sentence.styleSheet())
        sentence.say("Done.")
        assert sentence.styleSheet() == ""
    finally:
        viewer.theme = "dark"


def test_columns_stand_one_below_the_other(qtbot):
    sentence = Sentence()
    qtbot.addWidget(sentence)
    sentence.say("It is <wrong>.\nname      z\none  12.0\nAnswer with “Sign”.")
    text = sentence.text()
    assert "It is &lt;wrong&gt;." in text
    assert "<tr><td>one</td><td>12.0</td></tr>" in text
    assert text.endswith("Answer with “Sign”.")
    sentence.say("particles: 3\n   of: <all>")  # an indent is no column
    assert sentence.text() == "particles: 3\n   of: <all>"


def test_keys_are_bound_listed_and_given_back(session, viewer):
    done = []
    session.keys.bind(Key("Alt-Z", "does a thing"), lambda: done.append(1))
    assert [key.name for key in session.keys] == ["Alt-.", "Alt-Z"]
    bound = {str(key): action for key, action in viewer.keymap.items()}
    bound["Alt+Z"](viewer)
    assert done == [1]
    session.end()
    assert list(session.keys) == []
    assert "Alt+Z" not in [str(key) for key, action in viewer.keymap.items() if action is not None]
