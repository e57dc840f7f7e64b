import numpy as np
import pytest
from napari.layers.utils.plane import ClippingPlane
from scipy.ndimage import gaussian_filter
from skimage.measure import marching_cubes

from napari_flex3d.ops.surfaces import vertex_normals
from napari_flex3d.ui import surface
from napari_flex3d.ui.grid import Grid
from napari_flex3d.ui.isosurface import CarriedSurface, cut, default_contour, low_passed
from napari_flex3d.ui.surface import FlexSurface


def ball(box: int = 24, radius: float = 6.0) -> np.ndarray:
    z, y, x = np.mgrid[:box, :box, :box] - box // 2
    return (radius - np.sqrt(x**2 + y**2 + z**2)).astype(np.float32)


def test_normals_of_a_ball_point_along_its_radii():
    vertices, faces = cut(ball(), 0.0)
    normals = vertex_normals(vertices, faces)
    radii = vertices - 12
    cosine = (normals * radii).sum(1) / np.linalg.norm(normals, axis=1) / np.linalg.norm(radii, axis=1)
    assert np.abs(cosine).min() > 0.97
    assert len(set(np.sign(cosine))) == 1  # all out or all in


def test_a_surface_is_where_it_is_in_the_whole_box():
    shifted = np.roll(ball(40, 5.0), (6, -4, 9), axis=(0, 1, 2))
    vertices, faces = cut(shifted, 0.0)
    expected, expected_faces, _, _ = marching_cubes(shifted, 0.0)
    np.testing.assert_allclose(vertices, expected, atol=1e-4)
    np.testing.assert_array_equal(faces, expected_faces)
    at_the_edge, _ = cut(np.roll(shifted, 14, axis=2), 0.0)
    assert at_the_edge[:, 2].max() == 39  # open there, not closed within the box


@pytest.mark.parametrize("shift", range(4))
def test_a_coarse_surface_has_the_same_size_with_fewer_faces(shift):
    density = np.roll(ball(48, 12.0), shift)
    whole, coarse = cut(density, 0.0), cut(density, 0.0, most=16)
    assert len(coarse[1]) < len(whole[1]) / 6
    np.testing.assert_allclose(np.ptp(coarse[0], axis=0), np.ptp(whole[0], axis=0), atol=0.5)
    np.testing.assert_allclose(coarse[0].mean(0), whole[0].mean(0), atol=0.2)


def test_a_surface_between_the_voxels_that_are_used_is_cut_all_the_same():
    speck = np.zeros((24, 24, 24), np.float32)
    speck[11, 13, 11] = 1
    assert len(cut(speck, 0.5, most=12)[1]) == 8


def test_a_filter_knows_nothing_of_the_empty_part_of_the_box():
    density = np.zeros((32, 32, 32), np.float32)
    density[3:9, 20:26, 12:15] = np.random.default_rng(0).normal(size=(6, 6, 3))
    width = np.sqrt(np.log(2) / 2) / np.pi * 6.0 / 2.0
    np.testing.assert_array_equal(
        low_passed(density, 2.0, 6.0), gaussian_filter(density, width, mode="constant")
    )
    assert not low_passed(np.zeros((8, 8, 8), np.float32), 2.0, 6.0).any()


def test_the_surface_goes_with_an_affine_motion_of_its_mesh(toy_model):
    moved = CarriedSurface.of(toy_model.canonical, toy_model.pixel_size, 0.4, toy_model.mesh)
    matrix = np.array([[0.1, 0.02, 0], [0, -0.05, 0.03], [0.04, 0, 0.02]], np.float32)
    shift = moved.displacements(toy_model.mesh.vertices @ matrix.T)
    np.testing.assert_allclose(shift, moved.points @ matrix.T, atol=1e-3)


def test_the_contour_lies_between_solvent_and_protein(toy_model):
    contour = default_contour(toy_model.canonical, toy_model.mask)
    enclosed = (toy_model.canonical > contour).mean()
    assert 0.005 < enclosed < 0.1
    assert len(cut(toy_model.canonical, 10.0)[0]) == 0


def test_points_and_vectors_in_napari():
    grid = Grid(8, 2.0, (10.0, 20.0, 30.0))
    scale, translate = np.array(grid.placement["scale"]), np.array(grid.placement["translate"])
    point = np.array([[1.0, 2.0, 3.0]])  # x, y, z from the box centre, Å
    centre = np.array([10.0, 20.0, 30.0]) + 4 * 2.0
    np.testing.assert_allclose(grid.indices(point) * scale + translate, (centre + point)[:, ::-1])
    np.testing.assert_allclose(grid.vectors(point) * scale, point[:, ::-1])
    inner = grid.same_centre(4, 3.0)
    np.testing.assert_allclose(np.array(inner.origin) + 2 * 3.0, centre)


@pytest.fixture
def shown(viewer):
    vertices, faces = cut(ball(), 0.0)
    layer = FlexSurface((vertices, faces, vertices[:, 0]), contrast_limits=(0, 24), colormap="viridis")
    viewer.add_layer(layer)
    getattr(viewer, "scene", viewer).camera.zoom /= 5  # the small pictures show the middle of the canvas
    return viewer, layer


def picture(viewer) -> np.ndarray:
    return viewer.screenshot(size=(200, 200), flash=False)[..., :3].astype(float)


def test_the_picture_moves_with_the_vertices(shown):
    viewer, layer = shown
    before = picture(viewer)
    layer.move(layer.vertices + np.array([0, 0, 5.0]))
    after = picture(viewer)
    assert before.sum() > 0
    columns = np.arange(200)
    centre = [(p.sum(axis=(0, 2)) * columns).sum() / p.sum() for p in (before, after)]
    assert centre[1] > centre[0] + 10


def test_values_colour_the_surface_and_settling_keeps_the_shape(shown):
    viewer, layer = shown
    layer.move(layer.vertices * 1.1, np.full(len(layer.vertices), 24.0))
    after = picture(viewer)
    lit = after[after.sum(-1) > 60]
    assert lit[:, 0].mean() > 2 * lit[:, 2].mean()  # the yellow end of viridis
    layer.settle()
    np.testing.assert_allclose(picture(viewer), after, atol=2)
    assert layer._type_string == "surface"  # it saves as any other surface


def test_slices_and_clipping_planes_work(shown):
    viewer, layer = shown
    whole = picture(viewer).sum()
    plane = ClippingPlane(position=(12, 12, 12), normal=(0, 1, 0), enabled=True)
    layer.experimental_clipping_planes.append(plane)
    assert 0 < picture(viewer).sum() < 0.9 * whole
    viewer.dims.ndisplay = 2
    layer.move(layer.vertices + 1.0)
    assert layer.vertices.min() > 6
    layer.opacity = 0.5


def test_a_surface_that_came_while_slices_were_shown_is_lit(viewer):
    vertices, faces = cut(ball(), 0.0)
    viewer.dims.ndisplay = 2
    layer = FlexSurface((vertices, faces, np.full(len(vertices), 24.0)), contrast_limits=(0, 24))
    viewer.add_layer(layer)
    viewer.dims.ndisplay = 3
    viewer.reset_view()
    drawn = picture(viewer).mean(-1)
    assert np.std(drawn[drawn > 10]) > 10  # grey levels: plain colours have none between the rims


def test_without_napari_s_private_classes_it_still_moves(shown, monkeypatch):
    _, layer = shown
    monkeypatch.setattr(surface, "REGISTERED", False)
    target = layer.vertices + 3.0
    layer.move(target)
    np.testing.assert_allclose(layer.data[0], target)


def test_no_frame_makes_the_list_of_layers_be_drawn_anew(shown):
    viewer, layer = shown
    told = []
    viewer.layers.events.connect(told.append)
    drawn = []
    layer.drawing.drawn.connect(drawn.append)
    layer.move(layer.vertices + 1.0)
    picture(viewer)
    assert drawn
    assert not told


def test_both_sides_are_lit_and_the_rims_are_dark(shown):
    viewer, layer = shown
    layer.colormap = "gray"
    layer.move(layer.vertices, np.full(len(layer.vertices), 24.0))
    outer = picture(viewer).mean(-1)
    layer.reshape(layer.vertices, layer.faces[:, ::-1], layer.vertex_values)  # normals turned inside
    np.testing.assert_allclose(picture(viewer).mean(-1), outer, atol=3)
    rows, columns = np.nonzero(outer > 60)
    middle = outer[int(rows.mean()), int(columns.mean())]
    rim = outer[int(rows.mean()), columns.max() - 1 : columns.max() + 1].mean()
    assert rim < 0.75 * middle


def test_napari_is_not_told_of_a_surface_that_passes(shown):
    viewer, layer = shown
    told = []
    layer.events.data.connect(told.append)
    before = picture(viewer)
    vertices, faces = cut(ball(radius=9.0), 0.0)
    layer.reshape(vertices, faces, vertices[:, 0], passing=True)
    assert not told
    assert (picture(viewer).sum(-1) > 60).sum() > 1.5 * (before.sum(-1) > 60).sum()  # but it is on show
    layer.reshape(vertices, faces, vertices[:, 0])
    assert told
