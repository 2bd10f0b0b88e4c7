"""Figures show the numbers of the costs that they are drawn from, and the same bytes on every run."""

from __future__ import annotations

import io

import matplotlib.pyplot as plt
import numpy as np
import pytest

from lecture10 import (
    H100,
    attention,
    compute_transformer_stats,
    forward_pass,
    llama2_13b_config,
    matmul,
    measured_pass,
    mlp,
    roofline,
    timings,
)
from lecture10.figures.roofline import intensities, measured_products, roofline_moves, times
from lecture10.figures.stats import bottleneck_map, memory_growth, trade_off
from lecture10.figures.style import WIDTH
from lecture10.measurements.timings import DATA
from lecture10.notation import B, D, F, S

PEAK, BANDWIDTH = float(H100.peak_flops), float(H100.memory_bandwidth)
COSTS = {
    "one row": matmul(1, 5120, 13824),
    "many rows": matmul(4096, 5120, 13824),
    "MLP": mlp(64, 5120, 13824),
    "generation": attention(1, 1024, 1, query_width=5120, kv_width=5120),
    "prefill": attention(1, 4096, 4096, query_width=5120, kv_width=5120),
}
RANGE = np.geomspace(1, 4096, 25)


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


def curve(ax, label: str) -> tuple[np.ndarray, np.ndarray]:
    return next(line.get_data() for line in ax.get_lines() if line.get_label() == label)


def test_points_lie_on_the_roof_at_their_intensity() -> None:
    ax = roofline(COSTS, H100)
    for name, cost in COSTS.items():
        (x,), (y,) = curve(ax, name)
        assert x == pytest.approx(float(cost.flops / cost.bytes_transferred))
        assert y == pytest.approx(min(PEAK, x * BANDWIDTH))


def test_no_marker_hides_another_and_no_two_look_alike() -> None:
    costs = {f"{name} {rows}": cost for rows in (1, 64, 4096) for name, cost in (
        ("matmul", matmul(rows, 5120, 13824)), ("the same again", matmul(rows, 5120, 13824)))}
    points = roofline({**costs, "MLP": mlp(8, 5120, 13824)}, H100).get_lines()[2:]
    for first, second in zip(points[:6:2], points[1:6:2]):
        assert first.get_markersize() > second.get_markersize()
    assert len({point.get_color() for point in points}) == len({point.get_marker() for point in points}) == 7


def test_the_roof_bends_at_the_ridge() -> None:
    roof = roofline({}, H100).get_lines()[0]
    x, y = roof.get_data()
    assert x[1] == pytest.approx(PEAK / BANDWIDTH)
    assert list(y) == pytest.approx([min(PEAK, at * BANDWIDTH) for at in x])


def test_a_cost_with_free_symbols_is_refused() -> None:
    with pytest.raises(ValueError, match=r"cost 'open' still has \['B', 'F'\]"):
        roofline({"open": matmul(B, 64, F)}, H100)
    with pytest.raises(ValueError, match=r"cost 'move' still has \['D'\]"):
        roofline_moves({"move": (matmul(1, 64, 64), matmul(1, D, 64))}, H100)


def test_moves_lead_from_the_cost_before_to_the_cost_after() -> None:
    before, after = matmul(1, 5120, 13824), matmul(1, 5120, 13824, weight_bytes=1)
    figure = roofline_moves({"int8": (before, after), "more rows": (before, matmul(64, 5120, 13824))}, H100)
    ax = figure.axes[0]
    ends = [line.get_xdata()[0] for line in ax.get_lines() if line.get_marker() == "o"]
    assert ends == pytest.approx([float(before.intensity), float(after.intensity)])
    note = next(text.get_text() for text in ax.texts if "FLOPs" in text.get_text())
    assert note.splitlines() == ["FLOPs ×1", "bytes ×0.5001", "time ×0.5001"]
    assert [ax.get_title() for ax in figure.axes] == ["int8", "more rows"]


def test_intensity_curves_are_the_formulas() -> None:
    ax = intensities({"dense": S / 2, "constant": 8}, S, RANGE, H100)
    assert curve(ax, "dense")[1] == pytest.approx(RANGE / 2)
    assert curve(ax, "constant")[1] == pytest.approx(np.full(25, 8.0))
    with pytest.raises(ValueError, match="B"):
        intensities({"open": S * B}, S, RANGE, H100)


def test_step_time_is_the_upper_of_both_curves() -> None:
    cost = matmul(B, 5120, 13824)
    ax = times(cost, B, RANGE, H100)
    compute, memory = curve(ax, "compute time = FLOPs / peak")[1], curve(ax, "memory time = bytes / bandwidth")[1]
    step = curve(ax, "step time = max of both")[1]
    assert list(step) == [max(both) for both in zip(compute, memory)]
    assert compute == pytest.approx(1e6 * 2 * RANGE * 5120 * 13824 / PEAK)
    assert step == pytest.approx([1e6 * float(cost.as_step("").subs(B, rows).time(H100)) for rows in RANGE])
    with pytest.raises(ValueError, match="F"):
        times(matmul(B, 5120, F), B, RANGE, H100)


def test_trade_off_marks_the_batches_that_do_not_fit() -> None:
    step, batches = forward_pass().subs(llama2_13b_config()), np.arange(1, 600)
    ax = trade_off({"K = 40": step}, H100, batches, (64, 256), {"K = 40": [measured_pass(B=64, S=1024)]})
    above, (alone,) = curve(ax, "K = 40")[1], [line for line in ax.get_lines() if line.get_linestyle() == "--"]
    stats = compute_transformer_stats(llama2_13b_config())
    lecture = np.array([float(stats.throughput.subs(B, rows)) for rows in (64, 295, 599)])
    assert alone.get_ydata()[[63, 294, 598]] == pytest.approx(lecture)
    assert above[[63, 294]] == pytest.approx(lecture[:2]) and above[598] < 0.97 * lecture[2]
    marks = [line for line in ax.get_lines() if line.get_marker() == "o"]
    assert [mark.get_fillstyle() for mark in marks] == ["full", "none"]
    assert [mark.get_xdata()[0] for mark in marks] == pytest.approx([23.796, 71.874], rel=1e-4)
    assert np.ravel(curve(ax, "K = 40, measured")) == pytest.approx([30.1453, 64 / 0.0301453])


def test_measured_products_stand_where_they_were_measured() -> None:
    rows = [row for row in timings(DATA["products.csv"]) if row.device == H100 and row.what == "product"]
    ax = measured_products([row for row in rows if row.arithmetic != "int8"], rows[:1])
    assert len(curve(ax, "fp8, 56 products")[0]) == 56
    assert np.ravel(curve(ax, "one matrix, by its rows")) == pytest.approx(
        [float(rows[0].cost.intensity), float(rows[0].cost.flops) / rows[0].seconds])
    assert [text.get_text() for text in ax.texts] == ["ridge 295", "ridge 591", "1"]
    with pytest.raises(ValueError, match="expected rows of one device"):
        measured_products(timings(DATA["products.csv"]))


def test_memory_growth_crosses_the_weights_where_the_cache_is_as_large() -> None:
    stats = compute_transformer_stats(llama2_13b_config(S=S))
    ax = memory_growth(stats, (8,), [3971, 3972, 3973], H100.memory_bytes)
    below, at, above = curve(ax, "KV cache, B = 8")[1]
    assert at == pytest.approx(float(stats.parameter_size) / 1e9)
    assert below < at < above


def test_both_limits_of_the_map_are_labelled() -> None:
    cost = forward_pass().subs(llama2_13b_config(K=8, S=S))
    ax = bottleneck_map(cost, np.arange(1, 1001), np.arange(16, 16016, 16), H100)
    assert {text.get_text() for text in ax.texts} == {"ridge 295", "80 GB"}
    small = bottleneck_map(cost, np.arange(1, 5), np.arange(16, 160, 16), H100)  # everything fits: no edge to label
    assert {text.get_text() for text in small.texts} == {"ridge 295"}


@pytest.mark.parametrize("draw", [
    lambda: intensities({"dense": S / 2}, S, RANGE, H100).figure,
    lambda: times(matmul(B, 64, 64), B, RANGE, H100).figure,
    lambda: roofline_moves({"a": (matmul(1, 64, 64), matmul(2, 64, 64))}, H100)])
def test_a_figure_is_no_wider_than_a_phone_shows_it(draw) -> None:
    assert draw().get_figwidth() <= WIDTH


def drawing(nudge: float = 0.0, linewidth: float | None = None) -> str:
    """A clipped line, a hatched bar, a path clipped by a path and markers, as SVG."""
    figure = plt.figure()
    ax = figure.add_axes((0.1, 0.2 + nudge, 0.7, 0.6))
    ax.plot([0, 1], [0, 1 + nudge], "o-", linewidth=linewidth)
    ax.bar([0.5], [0.5 + nudge], hatch="/", linewidth=1 + nudge)
    ax.lines[0].set_clip_path(plt.Circle((0.5, 0.5 + nudge), 0.4, transform=ax.transData))
    written = io.StringIO()
    figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None})
    return written.getvalue()


def test_what_hangs_on_rounding_changes_no_byte_of_a_figure_and_what_is_drawn_does() -> None:
    assert drawing() == drawing(nudge=1e-14) != drawing(nudge=1e-4)
    assert drawing() != drawing(linewidth=1.9)
