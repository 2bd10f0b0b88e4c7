"""Measured times: the bound holds on every row of the package's data, and a reader's own file is read or refused."""

from __future__ import annotations

import pytest

from lecture10 import Accelerator, Deployment, accelerators, load_model, measured_pass, timings
from lecture10.measurements.timings import CACHED, DATA, llama_13b, measured_roof
from lecture10.models.passes import Pass

GEMM = "device,model,tensor_parallel,operation,inner,columns,rows,ms\n"


@pytest.fixture(scope="module")
def rows():
    return timings()


def test_every_row_stays_above_its_bound(rows):
    assert [sum(row.file == name for row in rows) for name in DATA] == [1472, 352, 144, 162, 72]
    assert not [(row.file, dict(row.row)) for row in rows if not 0 < row.floor <= row.bound < row.seconds]


def test_the_bound_is_not_loose(rows):
    best = {}
    for row in rows:
        key = row.file, row.arithmetic
        best[key] = max(best.get(key, 0), row.fraction)
    assert best["gemm.csv", "16-bit"] > 0.9 and best["layer.csv", "16-bit"] > 0.95
    assert min(best.values()) > 0.7


def test_devices_are_those_that_the_driver_names(rows):
    assert {row.device.name for row in rows} == {"A100 SXM 80GB", "H100 SXM", "H200 SXM"}


def test_a_product_and_its_formats(rows):
    big = {row.arithmetic: row for row in rows if row.file == "products.csv" and row.row["rows"] == "16384"
           and row.row["inner"] == "5120" and row.device.name == "H100 SXM"}
    flops = 2 * 16384 * 5120 * 27648
    for arithmetic, (x, w, y), peak in (("16-bit", (2, 2, 2), 989), ("fp8", (1, 1, 2), 1979),
                                        ("int8", (1, 1, 4), 1979)):
        row = big[arithmetic]
        assert row.cost.bytes_transferred == x * 16384 * 5120 + w * 5120 * 27648 + y * 16384 * 27648
        assert row.cost.flops == flops and row.bound == pytest.approx(flops / (peak * 1e12))
    copy, added = (next(row for row in rows if row.what == what) for what in ("copy", "sum"))
    assert (copy.cost.bytes_transferred, added.cost.bytes_transferred) == (4 << 30, 2 << 30)


def test_a_whole_model_is_its_deployment(rows):
    h100 = accelerators()["H100 SXM"]
    row = next(r for r in rows if r.what == "decode" and r.row["K"] == "8" and r.row["B"] == "256")
    assert row.bound == pytest.approx(float(Deployment(llama_13b(8), h100).step_time(256, 1, 1024)))
    assert llama_13b(40).layers == load_model("llama-2-13b").layers
    verified = next(r for r in rows if r.what == "pass" and r.row["B"] == "8" and r.row["T"] == "4")
    head = verified.cost.only("output embedding")
    assert head.flops == 2 * 8 * 4 * 5120 * 32000


def test_a_mixed_step_reads_the_weights_once(rows):
    row = next(r for r in rows if r.what == "mixed" and (r.row["K"], r.row["B"], r.row["chunk"], r.row["cached"])
               == ("8", "32", "512", "2048"))
    model, done = llama_13b(8), row.cost
    assert done.without("attention", "input embedding").bytes_transferred == 2 * (model.num_params - 32000 * 5120)
    alone = model.forward(Pass(32, 1, 1024)).only("attention"), model.forward(Pass(1, 512, 2560)).only("attention")
    assert done.only("attention").bytes_transferred == sum(part.bytes_transferred for part in alone)
    products = done.without("attention", "output embedding").flops
    assert products == 2 * 544 * sum(w.num_params for w in model.layers[0][1].weights if w.operation != "norms") * 40
    assert done.only("output embedding").flops == 2 * 33 * 5120 * 32000


def test_the_benchmarks_own_counts_are_the_packages(rows):
    """benchmarks/accelerator.py counts one layer's FLOPs and bytes by itself."""
    model = load_model("llama-2-13b")
    row = next(r for r in rows if r.what == "decode layer" and (r.row["B"], r.row["S"]) == ("16", "2048"))
    layer = model.layers[0][1].cost(Pass(16, 1, 2048)).without("norms")
    assert (row.cost.flops, row.cost.bytes_transferred) == (layer.flops, layer.bytes_transferred)


def test_one_pass_by_its_sizes():
    row = measured_pass(B=64, S=1024)
    assert (row.what, row.row["K"], row.row["T"], row.median) == ("decode", "40", "1", 0.0301453)
    assert row.seconds <= row.median and row.rates[1] == pytest.approx(row.fraction * 3350e9, rel=1e-3)
    assert measured_pass("prefill", "H200 SXM", S=4096, K=8).median == 0.1788672
    for what, sizes in (("decode", {"S": 1024}), ("decode", {"B": 3}), ("pass", {"K": 8}), ("train", {"B": 1})):
        with pytest.raises(ValueError, match=r"^\d+ rows of llama13b.csv have .*: expected exactly one$"):
            measured_pass(what, **sizes)


@pytest.mark.parametrize(("file", "card", "kind", "ridge"), [
    ("gemm.csv", "H100 SXM", "16-bit", 260.7), ("gemm.csv", "A100 SXM 80GB", "16-bit", 153.1),
    ("products.csv", "H200 SXM", "16-bit", 207.9), ("products.csv", "H100 SXM", "fp8", 599.7)])
def test_the_roof_that_products_reach(rows, file, card, kind, ridge):
    chosen = [row for row in rows if (row.file, row.device.name, row.arithmetic) == (file, card, kind)
              and row.cost.flops]
    seen, given = measured_roof(chosen), chosen[0].device.computing_in(kind)
    assert float(seen.intensity) == pytest.approx(ridge, abs=0.06)
    assert 0.7 < seen.peak_flops / given.peak_flops < 0.9 and 0.7 < seen.memory_bandwidth / given.memory_bandwidth < 0.9
    small = [row for row in chosen if 2 * int(row.row["inner"]) * int(row.row["columns"]) <= CACHED]
    other = next(row for row in rows if row.device != chosen[0].device and row.row["columns"] == "57344")
    for wrong in (small, [], rows[-1:], [*chosen, other]):
        with pytest.raises(ValueError, match="expected products of one device in one arithmetic"):
            measured_roof(wrong)


def test_a_readers_own_file(tmp_path):
    file = tmp_path / "mine.csv"
    file.write_text("\ufeff" + GEMM + "GeForce RTX 4090,,1,up,4096,4096,1,0.04\n", encoding="utf-8")
    [row] = timings(file)
    assert row.median == row.seconds == 4e-5  # the only number of its file
    assert row.device.name == "RTX 4090" and row.bound == pytest.approx(2 * (4096 * 4096 + 2 * 4096) / 1008e9)
    [own] = timings(str(file), card=Accelerator("mine", 10**12, 10**11, 10**9))
    assert own.bound == pytest.approx(2 * (4096 * 4096 + 2 * 4096) / 1e11)


@pytest.mark.parametrize(("text", "complaint"), [
    ("a,b\n1,2\n", r"mine.csv: columns \['a', 'b'\]: expected those of one of gemm.csv"),
    ("", "mine.csv: columns None: expected those of one of"),
    (GEMM + "H100,,1,up,4096,4096,1,fast\n", "mine.csv, line 2: could not convert string to float"),
    (GEMM + "H100,,1,up,4096,4096,1,0.1\nH100,,1,up,4096,4096,1,-0.1\n",
     "mine.csv, line 3: -0.0001 s: expected a positive"),
    (GEMM + "H100,,1,up,4096,4096,1,0\n", "mine.csv, line 2: 0.0 s: expected a positive"),
    (GEMM + "H100,,1,up,4096,4096,1,nan\n", "mine.csv, line 2: nan s: expected a positive"),
    (GEMM + "H100,,1,up,4096,4096,-1,1\n", "mine.csv, line 2: rows is -1: expected a positive"),
    (GEMM + "H100,,1,up,4096\n", "mine.csv, line 2: "),
    (GEMM + "H101,,1,up,4096,4096,1,1\n", "mine.csv, line 2: no accelerator 'H101': did you mean 'H100 SXM'"),
    ("what,format,rows,inner,columns,ms_min,device\nproduct,fp7,1,2,3,4,H100\n",
     "mine.csv, line 2: format = 'fp7': expected one of bf16, fp16, fp8, int8"),
    ("what,format,rows,inner,columns,ms_min,device\nproduct,fp8,1,2,3,4,RTX 3090\n",
     "mine.csv, line 2: 'RTX 3090' has no fp8 peak"),
    ("what,K,B,T,S,ms_min,device\ndecode,7,1,1,9,4,H100\n", "mine.csv, line 2: K = 7: expected"),
    ("what,K,B,T,S,ms_min,device\ndecode,8,1,9,1,4,H100\n",
     "mine.csv, line 2: tokens is 9: expected at most context = 1"),
])
def test_what_is_not_understood(text, complaint, tmp_path):
    file = tmp_path / "mine.csv"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=complaint):
        timings(file)


def test_no_file(tmp_path):
    with pytest.raises(ValueError, match=r"none\.csv: expected a CSV file of measured times"):
        timings(tmp_path / "none.csv")
