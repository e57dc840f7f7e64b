"""What the stages say, in the words of the window."""

import ast
import json
import re
from pathlib import Path

import pytest
from qtpy.QtCore import Qt

import napari_flex3d
from napari_flex3d.stages import STAGES
from napari_flex3d.ui.forms import ParamsForm, label_of
from napari_flex3d.ui.job_table import JobsDock
from napari_flex3d.ui.reader import read_or_say
from napari_flex3d.ui.reconstruct import ReconstructDock
from napari_flex3d.ui.tone import Fold
from napari_flex3d.ui.train_dock import TrainDock
from napari_flex3d.ui.wording import DOCK_OF, in_window

FORMS = {stage.name: stage.params for stage in STAGES}
LONG = 60_000
FLAG = re.compile(r"--[a-z][a-z-]*")


@pytest.mark.parametrize("stage", FORMS)
def test_every_flag_is_the_field_of_its_form(qtbot, stage):
    form = ParamsForm(FORMS[stage], stage=stage)
    qtbot.addWidget(form)
    fold = form.findChild(Fold)
    for info in FORMS[stage].describe():
        label = label_of(info).removesuffix(f" ({info.unit})")
        is_folded = fold is not None and fold.isAncestorOf(form.rows[info.name])
        here = f"“{label}”{' in Advanced' if is_folded else ''}"
        there = f"{here} {'of' if is_folded else 'in'} {DOCK_OF[stage]}"
        assert in_window(f"Give {info.flag}.", FORMS, stage) == f"Give {here}."
        assert in_window(f"Give {info.flag} of {stage}.", FORMS, stage) == f"Give {here}."
        assert in_window(f"({info.flag} of {stage})", FORMS) == f"({there})"
        assert in_window(f"Give flex3d {stage} {info.flag} again", FORMS) == f"Give {there} again"
        assert in_window(f"{info.name} = 2: must be", FORMS, stage) == f"{here.replace('”', ': 2”')}: must be"
        for choice in info.choices:
            chosen = here.replace("”", f": {choice}”")
            assert in_window(f"give {info.flag} {choice}.", FORMS, stage) == f"give {chosen}."


def sentences():
    """Every text of the stages that names a flag, apart from docstrings; and where it stands."""
    root = Path(napari_flex3d.__file__).parent
    for path in sorted(root.rglob("*.py")):
        if path.relative_to(root).parts[0] not in ("ui", "cli"):
            tree = ast.parse(path.read_text())
            docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
            for node in ast.walk(tree):
                is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
                if is_text and id(node) not in docs and FLAG.search(node.value):
                    yield f"{path.relative_to(root)}:{node.lineno}", node.value


def test_no_stage_names_a_flag_that_is_no_field():
    found = dict(sentences())
    assert len(found) > 30
    named = {info.flag for params in FORMS.values() for info in params.describe()} | {"--resume"}  # a button
    for place, text in found.items():
        assert set(FLAG.findall(text)) <= named, place
        for own in ("", *FORMS):
            assert "--" not in in_window(text, FORMS, own), place


@pytest.mark.parametrize(
    ("own", "said", "read"),
    [
        ("prep", "Give a mask (--mask) or a threshold.", "Give a mask (“Mask”) or a threshold."),
        (
            "reconstruct",
            "a wider one (--mask or --mask-dilate of prep).",
            "a wider one (“Mask” in Data or “Mask dilate” in Advanced of Data).",
        ),
        ("train", "Lower train_box of prep (now 64)", "Lower “Train box” in Data (now 64)"),
        ("train", "Use device = cpu.", "Use “Device: cpu”."),
        ("train", "latent_dims is 2. Use --latent-dims 3.", "“Latent dims” is 2. Use “Latent dims: 3”."),
        ("motions", "Use device = cpu.", "Use “Device: cpu”."),
        ("", "Go on with flex3d train --resume.", "Go on with “Resume” in Train."),
        ("mesh", "Run flex3d prep first.", "Run “Data” first."),
        (
            "prep",
            "or give a folder on another disk (-o).",
            "or give a folder on another disk (“Project…” in Jobs).",
        ),
        # paths, columns and what is no parameter stay
        ("prep", "/a/train_box/b.star, train_box.mrc: x", "/a/train_box/b.star, train_box.mrc: x"),
        ("", 'such as "z1 > 0.5 and held_out == 0".', 'such as "z1 > 0.5 and held_out == 0".'),
        ("train", "energy = 3, tm_points", "energy = 3, tm_points"),
    ],
)
def test_sentences_of_every_kind(own, said, read):
    assert in_window(said, FORMS, own) == read


def test_before_the_stages_are_loaded_a_flag_is_words_already():
    assert (
        in_window("Enter it. Answer with --pixel-size.", {}, "prep") == "Enter it. Answer with “Pixel size”."
    )


def test_docks_and_jobs_say_it_in_their_words(qtbot, session, run_toys, tmp_path):
    jobs = run_toys(tmp_path / "project")
    for stage, text in (("train", "Raise --epochs or --seed."), ("reconstruct", "Use --train-box of prep.")):
        path = jobs[stage] / "job.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"warnings": [text]}))
    session.project = tmp_path / "project"
    train, reconstruct, table = TrainDock(session), ReconstructDock(session), JobsDock(session)
    for dock in (train, reconstruct, table):
        session.viewer.window.add_dock_widget(dock)
    qtbot.waitUntil(lambda: reconstruct.panel.form is not None, timeout=LONG)
    session.open(jobs["reconstruct"])
    assert train.warnings.text() == "• Raise “Epochs” or “Seed” in Advanced."
    assert reconstruct.warnings.text() == "• Use “Train box” in Data."
    texts = [table.table.topLevelItem(row).text(5) for row in range(table.table.topLevelItemCount())]
    assert "1 warning: Raise “Epochs” or “Seed” in Advanced." in texts
    train.panel.form.fill({"fail": "Use --rigidity 3, or --cells.", "epochs": 2})
    with qtbot.waitSignal(session.run_ended, timeout=LONG):
        qtbot.mouseClick(train.panel.start_button, Qt.MouseButton.LeftButton)
    assert "Use “Rigidity: 3”, or “Cells” in Mesh." in train.panel.sentence.text()
    session.said.emit("Give --epochs.")
    assert train.said.text() == table.sentence.text() == "Give “Epochs” in Train."


def test_the_reader_says_it_in_words(monkeypatch, viewer):
    said = []
    monkeypatch.setattr("napari.utils.notifications.show_error", said.append)
    monkeypatch.setattr(
        "napari_flex3d.ui.reader.read", lambda _: (_ for _ in ()).throw(ValueError("--pixel-size"))
    )
    read_or_say("/nowhere.star")
    assert "“Pixel size”" in said[0]
