"""Particles chosen by their latents go back into the user's own file, and nothing else in it changes.

The real files' images are not public: images are made here of blobs with the files' own poses and optics. Their grids
are coarsened (pixel and box in a copy of the file), so that the boxes are small.
"""

import json
import re
import warnings
from dataclasses import replace
from types import SimpleNamespace

import gemmi
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from napari_flex3d import stages
from napari_flex3d.cli import main
from napari_flex3d.io.columns import take_columns
from napari_flex3d.io.cs.container import read_fields
from napari_flex3d.io.cs.rows import write_fields
from napari_flex3d.io.errors import InputError
from napari_flex3d.io.latents import read_latents
from napari_flex3d.io.particle_files import read_any_particles
from napari_flex3d.io.star import read_star
from napari_flex3d.io.table import Answers
from napari_flex3d.jobs import Job
from napari_flex3d.latent_tables import write_latents
from napari_flex3d.mesh import MeshParams
from napari_flex3d.ops.fourier import frequencies, irfft2
from napari_flex3d.particles import Optics, Particles
from napari_flex3d.prep import PrepParams
from napari_flex3d.select import satisfied, select
from napari_flex3d.train import TrainParams
from tests.conftest import BLOBS, write_mrc

DIMS = 2


def make_images(table, folder):
    """Stacks of blobs under the names that the particle file has, one grid for each optics group; and a map."""
    first = table.groups[table.group[0]]
    size = first.box_size * first.pixel_size / 160
    blobs, width = BLOBS * size, 10 * size
    images = np.zeros((len(table), first.box_size, first.box_size), np.float32)
    for number in np.unique(table.group):
        rows, group = np.flatnonzero(table.group == number), table.groups[number]
        assert group.box_size == first.box_size
        optics = Optics(table, group.box_size, group.pixel_size)
        k = frequencies(group.box_size).numpy() / group.pixel_size
        seen = np.einsum("nij,bj->nbi", optics.rotation(rows).numpy()[:, :2], blobs)
        transform = sum(
            np.exp(-2j * np.pi * np.einsum("yxc,nc->nyx", k, seen[:, b])) for b in range(len(blobs))
        )
        transform = transform * np.exp(-2 * np.pi**2 * width**2 * (k**2).sum(-1))
        images[rows] = irfft2(
            optics.transfer(rows) * torch.from_numpy(transform.astype(np.complex64))
        ).numpy()
    images *= np.where(table.contrast < 0, -1, 1)[:, None, None] / images.std()
    images += np.random.default_rng(0).normal(0, 0.5, images.shape)
    for number, name in enumerate(table.stacks):
        mine = table.stack == number
        stack = np.zeros((table.image[mine].max() + 1, *images.shape[1:]), np.float32)
        stack[table.image[mine]] = images[mine]
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_mrc(folder / name, stack, first.pixel_size, stack=True)
    axis = (np.arange(first.box_size) - first.box_size // 2) * first.pixel_size
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    density = sum(np.exp(-((x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2) / (2 * width**2)) for a, b, c in blobs)
    write_mrc(folder / "map.mrc", density.astype(np.float32), first.pixel_size)


def finish(stage, params, out, write):
    """A job whose stage does this and nothing else."""

    def steps():
        write(out)
        return {}
        yield

    for _ in Job.create(out, stage, params).drive(steps()):
        pass
    return out


def model_of(count):
    """What training leaves of every particle."""
    random = np.random.default_rng(5)
    return SimpleNamespace(
        latent_dims=DIMS,
        latents=random.normal(0, 0.6, (count, DIMS)).astype(np.float32),
        latent_sd=random.uniform(0.05, 0.2, (count, DIMS)).astype(np.float32),
        held_out=random.uniform(size=count) < 0.1,
        half=(np.arange(count) % 2).astype(np.uint8),
    )


def trained(folder, particles, **params):
    """Prep, and a training that has latents but never saw a flow."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stages.prepare(
            PrepParams(particles=particles, map=folder / "map.mrc", project_dir=folder, **params),
            folder / "J1",
        )
    table = Particles.open(folder / "J1").table
    mesh = finish("mesh", MeshParams(prep=folder / "J1"), folder / "J2", lambda out: None)
    model = model_of(len(table))
    train = finish(
        "train",
        TrainParams(mesh=mesh),
        folder / "J3",
        lambda out: write_latents(out, folder / "J1", table, model),
    )
    return SimpleNamespace(folder=folder, source=particles, table=table, model=model, train=train)


def quietly(path, *answers):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return read_any_particles(path, *answers, check=False)


def star_job(folder, path, *changes):
    text = path.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    particles = folder / path.name
    particles.write_bytes(text.encode())
    make_images(quietly(particles), folder)
    return trained(folder, particles)


def cs_job(folder, paths, factor=5, **params):
    """Copies with images ``factor`` times coarser."""
    for path in paths:
        fields = {name: values.copy() for name, values in read_fields(path).items()}
        for name in {"blob/psize_A", "alignments3D/psize_A"} & set(fields):
            fields[name] *= np.float32(factor)
        for name in {"blob/shape", "alignments3D/shift"} & set(fields):
            fields[name] = (fields[name] / factor).astype(fields[name].dtype)
        write_fields(folder / path.name, fields)
    first, *more = [folder / path.name for path in paths]
    table = quietly(first, Answers(passthrough=tuple(more)))
    make_images(table, folder)
    return trained(folder, first, passthrough=tuple(more), **params)


@pytest.fixture(scope="module", params=["relion31.6opticsgroups.star", "relion5.star"])
def of_star(request, fixtures, tmp_path_factory):
    changes = {
        "relion31.6opticsgroups.star": [
            (" 1.250000 196 2 ", " 5.100000 48 2 "),
            (" 1.240000 196 2 ", " 5.059200 48 2 "),
        ],
        "relion5.star": [("     0.890000          448 ", "     6.230000           64 ")],
    }
    path = fixtures / "star" / request.param
    return star_job(tmp_path_factory.mktemp("star"), path, *changes[request.param])


@pytest.fixture(
    scope="module",
    params=[
        ["cs/cryosparc_P12_J24_001_particles.cs"],
        ["derived/J24_first64_particles.cs", "derived/J24_first64_passthrough_particles.cs"],
        ["derived/J24_first64_csdat.cs"],
    ],
    ids=["whole", "split", "csdat"],
)
def of_cs(request, fixtures, tmp_path_factory):
    return cs_job(tmp_path_factory.mktemp("cs"), [fixtures / name for name in request.param])


def lines_of(path):
    """The lines around the rows of the particle table, and those rows."""
    lines = path.read_bytes().splitlines(keepends=True)
    rows = [line for line in lines if b"@" in line]
    return [line for line in lines if b"@" not in line], rows


# -- round trips


def test_a_star_file_comes_back_byte_for_byte(of_star):
    """Only rows are left out, and the latents stand behind the others."""
    out = of_star.folder / "some.star"
    said = select(of_star.train, "z1 > 0 or z2 < -0.5", out)
    z = of_star.model.latents
    kept = np.flatnonzero((z[:, 0] > 0) | (z[:, 1] < -0.5))
    assert (said["kept"], said["of"]) == (len(kept), len(z))
    around, rows = lines_of(of_star.source)
    new_around, new_rows = lines_of(out)
    labels = [f"_flex3dLatent{sd}{k}" for k in (1, 2) for sd in ("", "Sd")]
    assert [line for line in new_around if not line.startswith(b"_flex3d")] == around
    assert [line.split()[0].decode() for line in new_around if line.startswith(b"_flex3d")] == labels
    for row, k in zip(new_rows, kept, strict=True):
        before = rows[k].rstrip(b"\r\n")
        assert row.startswith(before)
        added = [z[k, 0], of_star.model.latent_sd[k, 0], z[k, 1], of_star.model.latent_sd[k, 1]]
        assert row[len(before) :].split() == [f"{value:.5f}".encode() for value in added]


def test_what_comes_back_is_read_as_what_went_in(of_star):
    out = of_star.folder / "again.star"
    select(of_star.train, "z1 > 0", out)
    kept = np.flatnonzero(of_star.model.latents[:, 0] > 0)
    before, after = quietly(of_star.source).take(kept), quietly(out)
    for name in ("rotation", "shift", "defocus_u", "image", "half", "micrograph"):
        if name != "micrograph":
            assert_array_equal(getattr(after, name), getattr(before, name))
    assert after.groups == before.groups
    used = gemmi.cif.read(str(out)).find_block("particles")[0].loop
    assert (used.width(), used.length()) == (len(after.columns), len(kept))


def test_a_dataset_comes_back_byte_for_byte(of_cs):
    """The main file's fields in their order and types; passthrough files stay what they are."""
    out = of_cs.folder / "some.cs"
    said = select(of_cs.train, "z1 > 0.2 and half == 0", out)
    z, half = of_cs.model.latents, of_cs.model.half
    kept = np.flatnonzero((z[:, 0] > 0.2) & (half == 0))
    assert said["kept"] == len(kept)
    assert "passthrough" in said["note"]
    before, after = read_fields(of_cs.source), np.load(out)
    rows = np.array([np.flatnonzero(before["uid"] == int(key))[0] for key in of_cs.table.columns["flexUid"]])[
        kept
    ]
    names = [f"components_mode_{k}/{what}" for k in range(DIMS) for what in ("component", "value")]
    assert list(after.dtype.names) == [*before, *names]
    for name, values in before.items():
        if values.dtype != object:
            assert after[name].dtype == values.dtype
        assert after[name].tolist() == values[rows].tolist()
    for k in range(DIMS):
        assert after.dtype[f"components_mode_{k}/component"] == "<u4"
        assert after.dtype[f"components_mode_{k}/value"] == "<f4"
        assert (after[f"components_mode_{k}/component"] == k).all()
        assert_array_equal(after[f"components_mode_{k}/value"], z[kept, k])


def test_a_dataset_as_a_star_file_has_the_recorded_images(of_cs):
    out = of_cs.folder / "some.star"
    select(of_cs.train, "z1 > 0", out)
    kept = np.flatnonzero(of_cs.model.latents[:, 0] > 0)
    answers = Answers(passthrough=tuple(of_cs.folder.glob("*passthrough*.cs")))
    rows = of_cs.table.row[kept]
    before, after = quietly(of_cs.source, answers).take(rows), quietly(out)
    assert (after.box_size, round(after.pixel_size, 4)) == (36, 14.75)
    assert_allclose(after.rotation, before.rotation, atol=1e-6)
    assert_allclose(after.shift, before.shift, atol=1e-5)
    assert [after.image_name(i) for i in range(len(kept))] == [before.image_name(i) for i in range(len(kept))]


# -- latents to start from


@pytest.mark.parametrize("name", ["latents.csv", "latents.star", "latents.cs"])
def test_latents_are_read_as_they_were_written(of_cs, name):
    found = read_latents(of_cs.train / name, of_cs.table, DIMS)
    assert_allclose(found, of_cs.model.latents, atol=5e-6)


@pytest.mark.parametrize("name", ["latents.csv", "latents.star", "latents.cs"])
def test_latents_of_a_star_file_too(of_star, name):
    assert_allclose(read_latents(of_star.train / name, of_star.table, DIMS), of_star.model.latents, atol=5e-6)


@pytest.fixture
def some(of_cs, tmp_path):
    """Components of CryoSPARC in any order, with particles that are not in use, and those that are."""
    order = np.random.default_rng(2).permutation(len(of_cs.table))
    used = np.sort(order[: len(order) // 2])
    table = replace(of_cs.table.take(used), columns=take_columns(of_cs.table.columns, used))
    fields = {name: values[order] for name, values in read_fields(of_cs.train / "latents.cs").items()}
    return tmp_path / "components.cs", fields, table, of_cs.model.latents[used]


def test_components_are_joined_by_their_keys(some):
    path, fields, table, latents = some
    write_fields(path, fields)
    assert_array_equal(read_latents(path, table, DIMS), latents)


def test_components_that_are_wrong(some):
    path, fields, table, _ = some
    value = "components_mode_1/value"

    def refused(dims=DIMS, **changes):
        write_fields(path, fields | changes)
        with pytest.raises(InputError) as caught:
            read_latents(path, table, dims)
        return str(caught.value)

    assert "has 2 latents (components_mode_0/value, components_mode_1/value), latent_dims is 3" in refused(3)
    assert "Use --latent-dims 2." in refused(3)
    assert f"{value} of particle " in refused(**{value: np.full(len(fields["uid"]), np.nan, "f4")})
    assert "is 2 for all particles" in refused(**{value: np.full(len(fields["uid"]), 2, "f4")})
    assert f"lacks {len(table)} of {len(table)} particles" in refused(
        uid=np.arange(len(fields["uid"]), dtype="u8")
    )
    del fields["components_mode_0/value"]
    assert "but no components_mode_0/value" in refused()
    del fields[value]
    assert "has no latents (components_mode_0/value, ...); it has uid" in refused()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("z1,z2\n1,2\n", "has 1 rows and nothing that tells them apart"),
        ("particle,z1,z2\n0,1,2\n", "lacks "),
        ("particle,z1\n0,1\n", "has 1 latents (z1), latent_dims is 2. Use --latent-dims 1."),
        ("particle,z1,z3\n0,1,2\n", "has z3, but no z2"),
        ("a,b\n0,1\n", "has no latents (z1, ...); it has a, b."),
        ("particle,z1,z2\n0,1\n", "row 1 has 2 values, the header names 3"),
        ("particle,z1,z2\n0,1,x\n", 'z2 = "x" is no number'),
        ("", "has no latents (z1, ...); it has no columns."),
    ],
)
def test_tables_of_latents_that_are_wrong(of_star, tmp_path, text, message):
    path = tmp_path / "z.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=re.escape(message)):
        read_latents(path, of_star.table, DIMS)


# -- conditions

COLUMNS = {
    "z1": np.array([-1.0, 0.0, 0.5, 2.0]),
    "held_out": np.array([0.0, 1.0, 0.0, 1.0]),
    "rlnDefocusU": np.array([1e4, 2e4, 15000, 12345.6]),
}


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("z1 > 0", [0, 0, 1, 1]),
        ("z1 > 0 and held_out == 0", [0, 0, 1, 0]),
        ("not z1 > 0 or rlnDefocusU/2 - 1 >= 6000", [1, 1, 1, 1]),
        ("-1 <= z1 < 0.5", [1, 1, 0, 0]),
        ("abs(z1 + 1) <= 1 and not (held_out != 1)", [0, 1, 0, 0]),
        ("z1**2 > 1e-1 and z1 % 1 == 0", [1, 0, 0, 1]),
        ("1/z1 > 0", [0, 1, 1, 1]),
    ],
)
def test_conditions_hold_where_they_should(where, expected):
    assert satisfied(where, COLUMNS).tolist() == [bool(e) for e in expected]


@pytest.mark.parametrize(
    "where",
    [
        "__import__('os').system('true')",
        "z1.max() > 0",
        "z1[0] > 0",
        "(lambda: 1)() > 0",
        "[z for z in z1]",
        "z1 if held_out else 0",
        "z1 is 3",
        "z1 in (1, 2)",
        "'a' == 'b'",
        "True",
        "print(z1)",
        "abs(z1, 2) > 0",
        "z1 > 0 and 3",
        "not z1",
        "(z1 > 0) + 1 > 0",
        "z1 + 1",
        "z1 >",
        "",
        "(" * 300 + "z1" + ")" * 300 + ">0",
        "-" * 900 + "z1 > 0",
        "9**9**9**9 > 1",
        "z1 \0 > 0",
        "a" * 2000,
        "z1 := 3",
    ],
)
def test_anything_else_is_refused_in_words(where):
    with pytest.raises(InputError):
        satisfied(where, COLUMNS)


# -- the command


def test_the_command_says_how_many_were_kept(of_star, capsys):
    out = of_star.folder / "few.star"
    assert main(["select", str(of_star.train), "--where", "z1 > 0.5", "-o", str(out)]) == 0
    kept = int((of_star.model.latents[:, 0] > 0.5).sum())
    assert capsys.readouterr().out == f"{kept} of {len(of_star.table)} particles kept: {out}\n"
    defocus = np.median(of_star.table.defocus_u)
    command = ["select", str(of_star.train), "--where", f"rlnDefocusU > {defocus}", "-o", str(out), "--json"]
    assert main(command) == 0
    said = json.loads(capsys.readouterr().out)
    assert (
        said["kept"]
        == (of_star.table.defocus_u > defocus).sum()
        == len(read_star(out)["particles"]["rlnAngleRot"])
    )


@pytest.mark.parametrize(
    ("where", "out", "message"),
    [
        ("z3 > 0", "a.star", "There is no z3. Names: particle, z1, z2, sd1, sd2, held_out, half, rln"),
        ("rlnMicrographName > 0", "a.star", "rlnMicrographName holds text; a condition is on numbers."),
        ("z1 > 50", "a.star", "No particle satisfies z1 > 50: z1 is -"),
        ("z1 > 0", "a.txt", "particles are written as .star or .cs"),
        ("z1 > 0", "a.cs", "a star file. Write a .star file."),
        ("z1 > 0", "J3/a.star", "belongs to the input or to the training job"),
    ],
)
def test_what_cannot_be_selected_is_said(of_star, capsys, where, out, message):
    path = of_star.folder / out
    assert main(["select", str(of_star.train), "--where", where, "-o", str(path)]) == 1
    assert message in capsys.readouterr().err
    assert not path.exists()


def test_a_job_that_is_no_training_is_refused(of_star):
    with pytest.raises(InputError, match="is a mesh job; select needs a train job"):
        select(of_star.folder / "J2", "z1 > 0", of_star.folder / "a.star")
    with pytest.raises(InputError, match="belongs to the input"):
        select(of_star.train, "z1 > 0", of_star.source)
