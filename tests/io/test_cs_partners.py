"""Passthrough files that nobody named: by the job's record, by the description of an export, by their names."""

import json

import numpy as np
import pytest

from napari_flex3d.cli import main
from napari_flex3d.io.errors import InputError
from napari_flex3d.io.particle_files import read_any_particles
from napari_flex3d.jobs import read_job


@pytest.fixture
def spread(sample):
    """Poses in one file, the rest in another, whose name tells nothing, beside a decoy with a likely name."""
    columns = sample.cs_columns()
    columns["alignments3D/alpha"][:] = 1
    rest = {k: v[::-1] for k, v in columns.items() if not k.startswith("alignments3D")}
    poses = {k: v for k, v in columns.items() if k.startswith(("uid", "alignments3D"))}
    sample.write_cs(rest | {"uid": rest["uid"] + 1}, "J7_passthrough_particles.cs")
    sample.write_cs(rest, "J7_012_rest.cs")
    return sample.write_cs(poses, "J7_012_particles.cs")


def test_without_a_record_the_names_decide(spread):
    with pytest.raises(InputError, match="0 of 60 uids occur in"):
        read_any_particles(spread)


def test_the_record_of_the_job_names_the_file(spread):
    def result(group, files, passthrough):
        return {"group_name": group, "metafiles": [f"J7/{f}" for f in files], "passthrough": passthrough}

    older, newest = ["J7_005_particles.cs", "J7_012_particles.cs"], ["J7_005_rest.cs", "J7_012_rest.cs"]
    record = {
        "output_results": [
            result("particles", older, False),
            result("particles", newest, True),
            result("volume", ["J7_passthrough_particles.cs"], True),
        ]
    }
    (spread.parent / "job.json").write_text(json.dumps(record))
    assert len(read_any_particles(spread)) == 60


def test_the_description_of_an_export_names_the_file(spread):
    lines = ["group:", "  name: particles", "results:"]
    for field, name in (("alignments3D", spread.name), ("blob", "J7_012_rest.cs"), ("ctf", "J7_012_rest.cs")):
        lines += [f"  {field}:", f"    metafile: '>{name}'", "    num_items: 60"]
    description = spread.parent / "J7_particles.csg"
    description.write_text("\n".join(lines) + "\n")
    assert len(read_any_particles(spread)) == 60
    with pytest.raises(InputError) as caught:
        read_any_particles(description)
    assert str(caught.value) == f"{description} describes an export. Give its particles, {spread.name}."


@pytest.mark.parametrize("text", ["[1, 2]", "{", '{"output_results": [3, {"metafiles": 4}]}'])
def test_another_programs_record_does_not_disturb(spread, text):
    (spread.parent / "job.json").write_text(text)
    with pytest.raises(InputError, match="0 of 60 uids occur in"):
        read_any_particles(spread)


def test_the_file_found_is_an_input_of_the_job(spread, sample, tmp_path):
    other = spread.parent / "J7_passthrough_particles.cs"
    rows = np.load(other)
    rows["uid"] -= 1
    with other.open("wb") as file:
        np.save(file, rows)
    out = tmp_path / "prep"
    command = ["prep", str(spread), "--map", str(sample.write_map()), "-o", str(out), "--quiet"]
    assert main(command) == 0
    job = read_job(out)
    assert job.params["passthrough"] == [str(other)]
    (place,) = job.record["inputs"]["passthrough"]
    assert len(job.record["sha256"][place]) == 64
    assert main(command) == 0  # the same job again, not another one
