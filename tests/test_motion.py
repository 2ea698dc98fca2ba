"""Histories and animations."""

import numpy as np
import pytest
from matplotlib import colormaps
from PIL import Image

from variform import figures
from variform.errors import InputError
from variform.figures import animation
from variform.mesh import Mesh


def square(n):
    x = np.stack(np.meshgrid(*[np.linspace(0, 1, n + 1)] * 2, indexing="ij"), axis=-1).reshape(-1, 2)
    i = np.arange((n + 1) ** 2).reshape(n + 1, n + 1)
    a, b, c, d = (s.ravel() for s in (i[:-1, :-1], i[1:, :-1], i[:-1, 1:], i[1:, 1:]))
    return Mesh(x, np.concatenate([np.stack([a, b, d], axis=1), np.stack([a, d, c], axis=1)]))


def frames_of(path):
    with Image.open(path) as image:
        for i in range(image.n_frames):
            image.seek(i)
            yield np.asarray(image.convert("RGB")).astype(int), image.info["duration"]


def test_all_frames_have_one_scale_and_a_white_page(tmp_path):
    mesh = square(4)
    values = [0.0, 0.25, 1.0, 0.75]
    shown = [(0.1 * i, np.full(len(mesh.points), v)) for i, v in enumerate(values)]
    frames = list(frames_of(figures.animate(mesh, shown, tmp_path / "a.gif", title="u", unit="K")))
    assert len(frames) == len(values)
    for (pixels, _), value in zip(frames, values, strict=True):
        height, width = pixels.shape[:2]
        expected = 255 * np.array(colormaps["viridis"](value)[:3])
        assert abs(pixels[height // 2, width // 3] - expected).max() < 4
        assert (pixels[:5] == 255).all()
    assert frames[-1][1] > frames[0][1]


def test_of_many_frames_the_ends_stay_and_the_file_is_bounded(tmp_path, monkeypatch):
    mesh = square(30)
    noise = np.random.default_rng(0).normal(size=(100, len(mesh.points)))
    monkeypatch.setattr(animation, "MOST_FRAMES", 6)
    monkeypatch.setattr(animation, "MOST_BYTES", 300_000)
    path = figures.animate(mesh, [(float(i), v) for i, v in enumerate(noise)], tmp_path / "a.gif", title="u")
    assert path.stat().st_size <= 300_000
    assert len(list(frames_of(path))) == 6


def test_a_line_moves_in_one_dimension(tmp_path):
    x = np.linspace(0, 1, 21)[:, None]
    mesh = Mesh(x, np.stack([np.arange(20), np.arange(1, 21)], axis=1))
    shown = [(t, np.full(21, t)) for t in (0.0, 1.0)]
    low, high = (
        np.flatnonzero((pixels[:, pixels.shape[1] // 2] == (0, 114, 178)).all(axis=1)).mean()
        for pixels, _ in frames_of(figures.animate(mesh, shown, tmp_path / "a.gif", title="u"))
    )
    assert high + 200 < low  # rows count from the top


@pytest.mark.parametrize("count", [0, 1])
def test_an_animation_needs_two_frames(tmp_path, count):
    mesh = square(2)
    with pytest.raises(InputError, match="two frames or more"):
        figures.animate(mesh, [(0.0, np.zeros(9))] * count, tmp_path / "a.gif", title="u")


def test_a_frame_without_a_finite_number_is_named(tmp_path):
    shown = [(0.0, np.zeros(9)), (0.5, np.full(9, np.nan))]
    with pytest.raises(InputError, match=r"u at t = 0\.5 has no finite number"):
        figures.animate(square(2), shown, tmp_path / "a.gif", title="u")
    assert not (tmp_path / "a.gif").exists()


def heights(path):
    """Where the line is in each column of a history of one quantity, in rows from the top; NaN where it is not."""
    with Image.open(path) as image:
        line = (np.asarray(image.convert("RGB")) == (0, 114, 178)).all(axis=2)
    rows = np.arange(len(line))[:, None]
    return np.where(line.any(axis=0), (rows * line).sum(axis=0) / np.maximum(line.sum(axis=0), 1), np.nan)


def test_a_history_shows_its_line_with_a_gap_where_nothing_is_finite(tmp_path):
    t = np.linspace(0, 1, 101)
    values = np.where((t > 0.4) & (t < 0.6), np.nan, t)
    found = heights(figures.history({"t": t, "energy": values}, tmp_path / "h.png"))
    columns = np.flatnonzero(np.isfinite(found))
    assert np.corrcoef(columns, found[columns])[0, 1] < -0.999
    assert np.diff(columns).max() / np.ptp(columns) == pytest.approx(0.2, abs=0.02)


def test_what_is_conserved_but_for_rounding_is_a_straight_line(tmp_path):
    t = np.linspace(0, 1, 101)
    found = heights(figures.history({"t": t, "mass": 3 + 1e-15 * np.sin(90 * t)}, tmp_path / "h.png"))
    assert np.nanmax(found) - np.nanmin(found) < 1


def test_histories_that_cannot_be_drawn_are_refused(tmp_path):
    for bad in ({"t": np.arange(3.0)}, {"t": np.zeros(1), "a": np.zeros(1)}, {"t": np.arange(3.0), "a": np.zeros(2)}):
        with pytest.raises(InputError):
            figures.history(bad, tmp_path / "h.png")
