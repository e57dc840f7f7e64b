"""Training that starts from latents of another program."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from napari_flex3d import stages
from napari_flex3d.io.errors import InputError
from napari_flex3d.mesh import MeshParams
from napari_flex3d.model import load_model
from napari_flex3d.prep import PrepParams
from napari_flex3d.synthetic import write_sample
from napari_flex3d.train import TrainParams


@pytest.fixture(scope="module")
def mesh_job(tmp_path_factory):
    root = tmp_path_factory.mktemp("given")
    sample = write_sample(root / "sample", particles=80, box=32, pixel_size=6.0, snr=0.5, seed=1, extent=20)
    stages.prepare(PrepParams(particles=sample.particles, map=sample.map, mask=sample.mask), root / "prep")
    stages.build_mesh(MeshParams(prep=root / "prep", cells=6), root / "mesh")
    return root / "mesh"


@pytest.fixture
def given(tmp_path):
    """Latents in an order of their own, on a scale of their own."""
    order = np.random.default_rng(0).permutation(80)
    z = 300 + 40 * np.random.default_rng(1).normal(size=80)
    rows = "".join(f"{row},{z[row]:.9f},x\n" for row in order)
    (tmp_path / "components.csv").write_text("particle,z1,note\n" + rows)
    return tmp_path / "components.csv", z


@pytest.mark.filterwarnings("ignore::napari_flex3d.io.errors.InputWarning")
@pytest.mark.parametrize(
    "params", [{"freeze_latents": True, "epochs": 2}, {"freeze_density": True, "epochs": 2}]
)
def test_given_latents_are_standardised_and_kept_if_asked_for(mesh_job, tmp_path, given, params):
    path, z = given
    out = tmp_path / "train"
    stages.train_model(
        TrainParams(mesh=mesh_job, latent_dims=1, rigidity=2.0, initial_latents=path, **params), out
    )
    model = load_model(out)
    fitted = ~model.held_out
    standard = (z - z[fitted].mean()) / z[fitted].std(ddof=1)
    if params.get("freeze_latents"):
        assert_allclose(model.standard[:, 0], standard, atol=1e-5)
    else:  # they are where the fit starts, not where it ends
        assert np.corrcoef(model.standard[fitted, 0], standard[fitted])[0, 1] < 0.999


@pytest.mark.filterwarnings("ignore::napari_flex3d.io.errors.InputWarning")
def test_given_latents_of_another_number_are_refused(mesh_job, tmp_path, given):
    params = TrainParams(mesh=mesh_job, latent_dims=2, rigidity=2.0, initial_latents=given[0], epochs=1)
    with pytest.raises(InputError, match=r"has 1 latents \(z1\), latent_dims is 2\. Use --latent-dims 1"):
        stages.train_model(params, tmp_path / "train")
