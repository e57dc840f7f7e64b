import email
import importlib.metadata
import importlib.util
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import napari_flex3d

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
QT = r"(napari|qtpy|pyqt\d|pyside\d|pyqtgraph|magicgui|superqt|vispy|app-model|npe2)\b"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    pytest.importorskip("hatchling", reason="hatchling builds the wheel")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def python(code, *path):
    command = [sys.executable, "-c", code, *map(str, path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_importing_the_package_loads_neither_torch_nor_qt():
    heavy = "('torch', 'numpy', 'napari', 'qtpy', 'PyQt6', 'vispy', 'magicgui', 'matplotlib')"
    code = f"import sys, napari_flex3d; print([m for m in {heavy} if m in sys.modules])"
    assert python(code) == "[]"


@pytest.mark.parametrize(
    ("given", "held"), [({}, "10000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "")]
)
def test_torchs_threads_do_not_wait_at_work_for_long_unless_the_user_says_so(monkeypatch, given, held):
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert python("import os, napari_flex3d; print(os.environ.get('GOMP_SPINCOUNT', ''))") == held


def test_public_names_are_there():
    for name in napari_flex3d.__all__:
        assert getattr(napari_flex3d, name).__doc__
        assert name in dir(napari_flex3d)
    with pytest.raises(AttributeError, match="colour"):
        _ = napari_flex3d.colour


def test_headless_dependencies_have_neither_napari_nor_qt():
    assert not [d for d in PROJECT["dependencies"] if re.match(QT, d, re.IGNORECASE)]
    assert not [
        d for d in PROJECT["optional-dependencies"]["ui"] if re.match(r"pyqt\d|pyside\d", d, re.IGNORECASE)
    ]


def test_versions_agree():
    assert importlib.metadata.version("napari-flex3d") == napari_flex3d.__version__ == PROJECT["version"]


def test_the_editable_install_has_the_manifest_of_the_root_and_its_commands_import():
    pytest.importorskip("npe2")
    from npe2 import PluginManifest

    manifest = PluginManifest.from_distribution("napari-flex3d")
    text = (ROOT / "napari.yaml").read_text(encoding="utf-8")
    assert manifest == PluginManifest.from_file(ROOT / "napari.yaml").model_copy(
        update={"package_metadata": manifest.package_metadata}
    )
    assert (Path(napari_flex3d.__file__).parent / "napari.yaml").read_text(encoding="utf-8") == text
    manifest.validate_imports()


def test_the_wheel_has_manifest_licence_styles_and_every_module(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        manifest = archive.read("napari_flex3d/napari.yaml").decode()
        entry_points = archive.read(next(n for n in names if n.endswith("entry_points.txt"))).decode()
    assert manifest == (ROOT / "napari.yaml").read_text(encoding="utf-8")
    assert "napari-flex3d = napari_flex3d:napari.yaml" in entry_points
    assert "flex3d = napari_flex3d.cli:main" in entry_points
    assert any(name.endswith("licenses/LICENSE") for name in names)
    source = ROOT / "src"
    modules = {p.relative_to(source).as_posix() for p in source.rglob("*.py")}
    assert modules <= names
    assert "napari_flex3d/report/style.css" in names


def test_the_wheel_is_found_by_napari(wheel, tmp_path):
    pytest.importorskip("npe2")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]);"
        "from npe2 import PluginManifest; m = PluginManifest.from_distribution('napari-flex3d');"
        "m.validate_imports(); import napari_flex3d; print(napari_flex3d.__file__)"
    )
    assert python(code, tmp_path).startswith(str(tmp_path))


def test_napari_finds_nothing_wrong_with_the_plugin():
    pytest.importorskip("npe2")
    code = "import sys; from npe2.cli import main; sys.argv[1:] = ['validate', '--imports', 'napari-flex3d']; main()"
    assert "Manifest for '3DFlex' valid" in python(code)


def test_the_listing_on_the_napari_hub_is_complete(wheel):
    """What the hub shows comes from the wheel's metadata, the readme in it, and the manifest (napari's own guide)."""
    pytest.importorskip("npe2")
    from npe2 import PluginManifest
    from npe2.manifest.schema import Category
    from trove_classifiers import classifiers

    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith("dist-info/METADATA"))
        listed = email.message_from_bytes(archive.read(name))
    assert listed["Name"] == PROJECT["name"]
    assert 30 < len(listed["Summary"]) < 120
    assert listed["Author"]
    assert listed["License-Expression"] == "BSD-3-Clause"
    assert listed["Requires-Python"]
    assert set(listed.get_all("Classifier")) <= set(classifiers)
    assert {"Framework :: napari", "Programming Language :: Python :: 3.11"} <= set(
        listed.get_all("Classifier")
    )
    assert all(", https://" in url for url in listed.get_all("Project-URL"))
    assert listed["Description-Content-Type"] == "text/markdown"
    title, *rest = str(listed.get_payload()).splitlines()
    assert title == f"# {PROJECT['name']}"  # the hub takes it for the title
    assert sum(line.startswith("## ") for line in rest) > 3  # and these for the links beside the text
    manifest = PluginManifest.from_file(ROOT / "napari.yaml")
    assert manifest.is_visible
    assert manifest.display_name == "3DFlex"
    assert manifest.categories
    assert {str(kind) for kind in manifest.categories} <= {str(kind.value) for kind in Category}
    shown = manifest.contributions
    assert shown.readers
    assert shown.widgets
    assert shown.sample_data


def test_the_licence_is_bsd():
    assert PROJECT["license"] == "BSD-3-Clause"
    assert "Redistribution and use in source and binary forms" in (ROOT / "LICENSE").read_text()


def tracked_files():
    run = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if run.returncode:
        pytest.skip("this is no git checkout")
    return [ROOT / name for name in run.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_no_tracked_file_names_a_place_on_one_machine_or_a_package_registry():
    places = [
        f"/{top}/{rest}"
        for top, rest in (("work", ""), ("home", r"\w+/"), ("opt", "wheels"), ("Users", r"\w+/"))
    ]
    hosts = [r"\.".join(host) for host in (("pypi", "org"), ("download", "pytorch"), ("pythonhosted", "org"))]
    wrong = re.compile("|".join(places + hosts))
    found = []
    for path in tracked_files():
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue
        found += [
            f"{path.relative_to(ROOT)}:{i}: {line}" for i, line in enumerate(lines, 1) if wrong.search(line)
        ]
    assert found == []


def test_the_parameter_page_is_current():
    spec = importlib.util.spec_from_file_location("write_parameters", ROOT / "docs" / "write_parameters.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page = (ROOT / "docs" / "parameters.md").read_text(encoding="utf-8")
    assert page == module.text(), "run: make docs-parameters"
