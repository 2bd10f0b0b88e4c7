"""The command as a new user tries it: names as people write them, files it has never seen, what it cannot answer, and
the same numbers as the package."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lecture10 import (
    BYTES,
    H100,
    Deployment,
    Workload,
    accelerators,
    compare,
    known_models,
    load_model,
)
from lecture10.__main__ import main
from lecture10.command.answer import seconds
from lecture10.measurements.results import Given, read_results

UNSEEN = {"model_type": "llama", "hidden_size": 64, "intermediate_size": 160, "num_attention_heads": 4,
          "num_key_value_heads": 2, "num_hidden_layers": 3, "vocab_size": 100, "tie_word_embeddings": True,
          "torch_dtype": "bfloat16", "max_position_embeddings": 8192}
PARAMETERS = 135_872
LLAMA_BENCH = {"gpu_info": "NVIDIA GeForce RTX 4090", "model_size": 4_677_120_000, "model_n_params": 7_615_616_512,
               "type_k": "f16", "type_v": "f16", "n_gpu_layers": -1, "embeddings": False, "n_depth": 0}
SERVE = {"model_id": "Qwen/Qwen3-8B", "request_rate": "inf", "max_concurrency": 64, "duration": 80.0, "completed": 200,
         "total_input_tokens": 204_800, "total_output_tokens": 25_600, "output_throughput": 320.0}


@pytest.fixture
def unseen(tmp_path):
    file = tmp_path / "my-model.json"
    file.write_text(json.dumps(UNSEEN), encoding="utf-8")
    return str(file)


@pytest.fixture
def saved(tmp_path):
    def save(content):
        file = tmp_path / "results.json"
        file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return str(file)
    return save


def found(capsys, *arguments):
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys, *arguments):
    """The line with which ``arguments`` are refused."""
    assert main(list(arguments)) == 2
    shown = capsys.readouterr()
    assert shown.err.count("\n") == 1 and shown.err.startswith("lecture10: ") and not shown.out
    return shown.err


def test_json_is_what_the_package_says(unseen, capsys):
    said = found(capsys, unseen, "--accelerator", "h100 sxm", "--batch", "64", "--context", "512", "--weights", "INT8",
                 "--kv", "fp8", "--devices", "2")
    plan = Deployment(load_model(UNSEEN), H100, 2, BYTES["int8"], BYTES["fp8"])
    attention, mlp, norms = 64 * 64 * 2 + 64 * 32 * 2, 3 * 64 * 160, 2 * 64
    assert said["parameters"] == 100 * 64 + 3 * (attention + mlp + norms) + 64 == said["weights_bytes"]
    assert said["kv_cache_per_sequence_bytes"] == 3 * 2 * 2 * 16 * 512 / 2
    assert said["time_per_output_token_s"] == float(plan.step_time(64, 1, 512))
    assert said["time_to_first_token_s"] == float(plan.time_to_first_token(1, 512))
    assert 0 < said["floor_time_per_output_token_s"] <= said["time_per_output_token_s"]
    assert said["largest_batch"] == plan.largest_batch(512)
    assert said["throughput_tokens_per_s"] == pytest.approx(64 / said["time_per_output_token_s"])
    assert sum(said["limits"].values()) == pytest.approx(1)
    assert len([note for note in said["notes"] if note.endswith("as asked")]) == 2


def test_the_screen_begins_with_the_answer_and_names_every_basis(unseen, capsys):
    assert main([unseen]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert shown.startswith("my-model fits on one H100 SXM with at most ")
    assert "sequences of 4,096 tokens; at batch 1 a token takes at least" in shown
    assert "the memory bandwidth limits it." in shown and "driver:" in shown and "data sheet:" in shown
    assert "speculation" in shown and "its floor" in shown and "attention projections" in shown


def test_a_model_alone_is_enough(capsys):
    assert found(capsys, "gpt2")["context_tokens"] == 1024
    assert found(capsys, "gpt-oss-20b", "--beyond-context")["context_tokens"] == 4096
    assert found(capsys, "QWEN/qwen3-8B", "--accelerator", "NVIDIA H100 80GB HBM3")["context_tokens"] == 4096


@pytest.mark.parametrize("width", ["60", "80", "120"])
def test_nothing_is_cut_off_in_a_window(width, unseen, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", width)
    for arguments in ([unseen], ["--list"], ["compare", unseen, "--generate", "9", "--measured", "5"]):
        assert main(arguments) == 0
        lines = capsys.readouterr().out.splitlines()
        assert max(map(len, lines)) <= int(width) and not any("…" in line for line in lines)


@pytest.mark.parametrize("experts", ["tensor-parallel", "expert-parallel"])
@pytest.mark.parametrize("weights", [[], ["--weights", "mxfp4"], ["--weights", "int8"]])
def test_whole_sequences_on_a_device_with_any_format(weights, experts, capsys):
    """What is copied is on every device, all else once: attention, or everything but the experts."""
    asked = ["--devices", "4", "--attention", "Data-Parallel", "--experts", experts]
    said = found(capsys, "qwen3-30b-a3b", *asked, *weights)
    alone = found(capsys, "qwen3-30b-a3b", *weights)
    of = {row["operation"]: row["bytes"] for row in alone["operations"]}
    spread = 128 / 8 * of["experts"] if experts == "expert-parallel" else None
    copied = of["attention projections"] if spread is None else alone["weights_bytes"] - spread
    assert said["weights_bytes"] == pytest.approx(alone["weights_bytes"] + 3 * copied)


def test_what_does_not_fit_says_what_would(capsys):
    assert main(["llama-2-70b"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "does not fit on one H100 SXM with 1 sequence of 4,096 tokens: 139 GB of 85.0 GB; 2 devices would" in shown


    assert main(["gpt2", "--batch", "2500"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    most = int(Deployment(load_model("gpt2"), H100).largest_batch(1024))
    assert f"with 2,500 sequences of 1,024 tokens: 94.6 GB of 85.0 GB, at most {most:,} sequences do; 2 dev" in shown


def test_what_a_device_of_several_does(unseen, capsys):
    title = "one decode step, batch 1, 4,096 tokens each"
    for devices, after in ((1, ""), (2, ", one device")):
        assert main([unseen, "--devices", str(devices)]) == 0
        assert f"{title}{after}\n" in capsys.readouterr().out


def test_times_have_the_unit_that_leaves_three_digits():
    assert [*map(seconds, (12.345, 1, 0.0123, 1e-3, 4.56e-6))] == ["12.3 s", "1.00 s", "12.3 ms", "1.00 ms", "4.56 us"]


def test_list(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    assert main(["--list"]) == 0
    shown = capsys.readouterr().out
    rows = [next(line for line in shown.splitlines() if line.startswith(f"{name} ")) for name in known_models()]
    sizes = [f" {load_model(name).num_params:,} " for name in known_models()]
    assert len({row.index(size) + len(size) for row, size in zip(rows, sizes)}) == 1  # one below the other
    assert all(name in shown for name in (*known_models(), *accelerators()))
    assert found(capsys, "--list")["accelerators"] == list(accelerators())


@pytest.mark.parametrize(("written", "tokens"), [("64k", 65_536), ("131072", 131_072), ("131,072", 131_072),
                                                 ("1M", 2**20), ("0.5k", 512)])
def test_sizes(written, tokens, unseen, capsys):
    assert found(capsys, unseen, "--beyond-context", "--context", written)["context_tokens"] == tokens


@pytest.mark.parametrize(("written", "each"), [("INT8", 1), ("4 bits", Fraction(1, 2)), ("4.85BPW", 0.60625),
                                               ("271.744 kB", 2), ("0.000135872GB", 1)])
def test_weights(written, each, unseen, capsys):
    assert found(capsys, unseen, "--weights", written)["weights_bytes"] == pytest.approx(PARAMETERS * float(each))


def test_a_card_of_ones_own(unseen, capsys):
    own = ["--peak", "989TFLOP/s", "--bandwidth", "3350 GB/s", "--memory", "85017493504", "--link", "450GB/s"]
    said = found(capsys, unseen, *own, "--devices", "2", "--batch", "512")
    same = found(capsys, unseen, "--devices", "2", "--batch", "512")
    assert said["accelerator"] == "own accelerator" and said["basis"]["capacity_per_device_bytes"] == "as given"
    for key in ("time_per_output_token_s", "time_to_first_token_s", "largest_batch", "floor_time_per_output_token_s"):
        assert said[key] == same[key], key
    larger = found(capsys, unseen, "--memory", "80GiB", "--accelerator", "h100")
    assert larger["capacity_per_device_bytes"] == 80 * 2**30
    fast = found(capsys, unseen, "--peak", "1P", "--accelerator", "V100 SXM2 32GB", "--arithmetic", "FP8")
    assert fast["arithmetic"] == "fp8"


@pytest.mark.parametrize(("arguments", "complaint"), [
    (["lama-3-8b"], "no model 'lama-3-8b': expected a config.json or a known model, such as 'llama-3-8b'"),
    (["meta-llama/Llama-3.1-8B"], "such as 'llama-3-8b'"),
    (["gpt2", "--accelerator", "H101 SXM"], "no accelerator 'H101 SXM': did you mean 'H100 SXM'?"),
    (["gpt2", "--accelerator", "a100"], "did you mean 'A100 SXM 40GB' or 'A100 SXM 80GB'?"),
    (["gpt2", "--context", "2000"], "2000: expected at most"),
    (["llama-3-8b", "--context", "64k"], "expected at most 8192, which the model's file allows; --beyond-context"),
    (["gpt2", "--accelerator", "Gaudi 3", "--devices", "2"], "devices = 2: expected 1"),
    (["qwen2.5-7b", "--devices", "7"], "devices = 7: expected 4 or 28"),
    (["gpt2", "--arithmetic", "fp4"], "'H100 SXM' has no fp4 peak"),
    (["gpt2", "--arithmetic", "fp8", "--accelerator", "A100 80GB"], "has no fp8 peak, of that width only int8"),
    ([], "no model given"),
    (["gpt2", "--accelerator", ""], "no accelerator '': expected one of V100"),
    (["https://huggingface.co/gpt2"], "this is an address"),
    ([json.dumps(UNSEEN)], "this is JSON text"),
    (["x" * 300], "File name too long"),
    (["nothing.json"], "no such file"),
    (["a\0b"], "expected a config.json"),
    (["gpt2", "--batch", "0"], "--batch: '0': expected a positive whole number"),
    (["gpt2", "--batch", "1.5"], "--batch: '1.5': expected a positive whole number"),
    (["gpt2", "--batch", "9" * 5000], "--batch: '999"),
    (["gpt2", "--devices", "-1"], "--devices"),
    (["gpt2", "--weights", "int5"], "--weights: 'int5': expected one of fp32"),
    (["gpt2", "--attention", "ring"], "expected one of tensor-parallel, data-parallel"),
    (["gpt2", "--experts", "expert-parallel"], "expected 'tensor-parallel', gpt2 has"),
    (["gpt2", "--bandwidth", "3350"], "--bandwidth: '3350': expected a number with its unit, such as 3.35TB/s"),
    (["gpt2", "--link", "400Gb/s", "--accelerator", "h100"], "(B: bytes)"),
    (["gpt2", "--memory", "24GB"], "--memory: expected --peak and --bandwidth too"),
    (["gpt2", "--frobnicate"], "unrecognized arguments: --frobnicate"),
    (["compare", "gpt2"], "no measured speed given"),
    (["compare", "--measured", "5"], "no model given"),
    (["compare", "gpt2", "--measured", "5"], "expected at least one token"),
    (["compare", "gpt2", "--measured", "-5", "--generate", "9"], "--measured"),
    (["compare", "gpt2", "--measured", "5x"], "'5x': expected a positive number, or the path of a file"),
    (["compare", "gpt2", "--measured", "nothing.json"], "nothing.json: No such file or directory"),
    (["compare", "gpt2", "--measured", "5", "--generate", "1025"], "1025: expected at most"),
    (["compare", "llama-2-70b", "--measured", "5", "--generate", "10", "--requests", "9"], "does not fit on 1 x H100"),
    (["compare", "gpt2", "--measured", "5", "--generate", "8", "--requests", "2", "--batch", "3"], "requests = 2"),
])
def test_what_it_cannot_answer(arguments, complaint, capsys):
    assert complaint in refused(capsys, *arguments)


@pytest.mark.parametrize(("content", "complaint"), [
    (b"\xff\xfe{}", "utf-8"), (b"\x80\x81", "utf-8"), (b"\xef\xbb\xbf{}", "BOM"), (b"{", ""), (b"[]", ""), (b"", ""),
    (b"[" * 100_000, ""), (b'{"model_type": 3}', "model_type"), (b'{"model_type": "llama", "hidden_size": 1e400}', ""),
])
def test_files_that_are_no_configuration(content, complaint, tmp_path, capsys):
    file = tmp_path / "a\nb\x1b[31m.json"  # a name that would break a line and colour it
    file.write_bytes(content)
    line = refused(capsys, str(file))
    assert complaint in line and "\x1b" not in line


def test_what_may_not_be_read(tmp_path, capsys, monkeypatch):
    """As for a folder without permission; root may read everything, so the operating system's answer is played."""
    def denied(*_, **__):
        raise PermissionError(13, "Permission denied")
    monkeypatch.setattr("pathlib.Path.stat", denied)
    assert "Permission denied" in refused(capsys, str(tmp_path))
    assert "Permission denied" in refused(capsys, "compare", "gpt2", "--measured", str(tmp_path / "run.json"))


LIGHT = """import runpy, sys, lecture10
lecture10.compute_transformer_stats(lecture10.llama2_13b_config(B=1))
loaded = [name for name in ("numpy", "matplotlib", "IPython") if name in sys.modules]
sys.exit(f"loaded: {loaded}") if loaded else runpy.run_module("lecture10", run_name="__main__", alter_sys=True)"""


def test_as_a_process_in_which_import_and_statistics_load_sympy_alone():
    command = [sys.executable, "-c", LIGHT, "gpt2", "--context", "1000", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"})
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["parameters"] == 124_439_808


def test_a_name_that_the_terminal_has_no_letters_for(tmp_path, monkeypatch):
    (tmp_path / "模型.json").write_text(json.dumps(UNSEEN), encoding="utf-8")
    with open(tmp_path / "shown", "w", encoding="ascii") as terminal:
        monkeypatch.setattr("sys.stdout", terminal)
        assert main([str(tmp_path / "模型.json")]) == 0
    assert (tmp_path / "shown").read_text(encoding="ascii").startswith(r"\u6a21\u578b fits on")


@pytest.mark.skipif(os.name != "posix", reason="pipes are closed like this on POSIX")
def test_a_closed_pipe_is_quiet():
    command = f"{shlex.quote(sys.executable)} -m lecture10 gpt2 | true"
    done = subprocess.run(command, shell=True, capture_output=True, check=True)
    assert done.stderr == b""


@pytest.mark.skipif(os.name != "posix", reason="pipes are closed like this on POSIX")
def test_json_that_nobody_reads(monkeypatch, capsys):
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w", encoding="utf-8") as pipe:
        monkeypatch.setattr("sys.stdout", pipe)
        assert main(["gpt2", "--json"]) == 1
    assert capsys.readouterr().err == ""


# A measured speed beside the bound of the same work

def by_hand(plan, prompt, generated, batch=1):
    """Every pass of a batch that runs alone, one after the other."""
    passes = [(prompt, prompt)] * (prompt > 0) + [(1, s) for s in range(prompt + 1, prompt + generated + (prompt == 0))]
    return [sum(float(time(batch, *run)) for run in passes) for time in (plan.step_time, plan.floor_time)]


@pytest.mark.parametrize(("prompt", "generated", "batch"), [(7, 0, 3), (0, 5, 1), (7, 5, 1), (7, 1, 1), (600, 5, 64)])
def test_the_bound_of_a_batch_is_the_sum_of_its_passes(prompt, generated, batch):
    plan = Deployment(load_model(UNSEEN), H100)
    said = compare(plan, Workload(prompt, generated, batch), 1e3)
    steps, floors = by_hand(plan, prompt, generated, batch)
    tokens = batch * (generated or prompt)
    assert said.bound == pytest.approx(tokens / steps) and said.share == pytest.approx(1e3 / said.bound)
    if batch == 1:
        assert said.floor == pytest.approx(tokens / floors)
    assert said.floor >= said.bound * (1 - 1e-12)


@pytest.mark.parametrize("name", ["qwen3-8b", "gemma-2-2b", "qwen3-30b-a3b"])
def test_requests_in_a_row_are_bounded_by_each_operations_totals(name):
    plan, work = Deployment(load_model(name), H100), Workload(300, 40, 16, requests=1000)
    prompts, steps = plan.device_cost(16, 300, 300), [plan.device_cost(16, 1, s) for s in range(301, 340)]
    seconds = sum(max(float(first.flops + sum(s.flops for s in rest)) / float(H100.peak_flops),
                      max(float(first.bytes_transferred), float(sum(s.bytes_transferred for s in rest)))
                      / float(H100.memory_bandwidth)) for first, *rest in zip(prompts, *steps))
    said = compare(plan, work, 1.0)
    assert said.bound == pytest.approx(16 * 40 / seconds)
    alone = compare(plan, Workload(300, 40, 16), 1.0)
    assert alone.bound <= said.bound <= said.floor and alone.floor == pytest.approx(said.floor)


def test_as_many_requests_run_as_fit_when_each_has_just_begun():
    plan = Deployment(load_model("qwen3-8b"), H100)
    said = compare(plan, Workload(6144, 2048, None, requests=10_000), 1.0)
    assert said.work.batch == plan.largest_batch(6145) > plan.largest_batch(8192)
    assert compare(plan, Workload(6144, 2048, 10_000, requests=10_000), 1.0) == said
    assert said.bound > compare(plan, Workload(6144, 2048, 8, requests=10_000), 1.0).bound


def test_many_contexts_are_summed_in_blocks_that_stay_a_bound():
    plan = Deployment(load_model("gpt2"), H100)
    near = compare(plan, Workload(0, 1000), 1.0)
    plan = Deployment(load_model("qwen3-8b", any_context=True), H100)
    start = time.perf_counter()
    long, double = (compare(plan, Workload(1, count), 1.0) for count in (50_000, 100_000))
    assert time.perf_counter() - start < 5
    mean = float(plan.step_time(1, 1, 25_001))  # the step is linear here, so this is the mean
    assert 1 / mean < long.bound < 1.001 / mean and double.bound < long.bound and near.bound > 0


def test_the_verdict_says_what_the_rest_may_be_or_what_was_broken():
    plan, work = Deployment(load_model("qwen2.5-7b"), accelerators()["RTX 4090"]), Workload(prompt=2048)
    bound, floor = compare(plan, work, 1.0).bound, compare(plan, work, 1.0).floor
    assert "what the bound leaves out" in compare(plan, work, 0.5 * bound).verdict
    assert "within the floor" in compare(plan, work, (bound + floor) / 2).verdict
    broken = compare(plan, work, 1.2 * floor)
    assert broken.share > 1 and "speculation" in broken.verdict and "16-bit in fp16" in broken.verdict
    assert "16-bit in fp16" not in compare(plan, work, 100 * floor).verdict


def test_a_prompt_may_be_as_long_as_the_model_allows():
    plan = Deployment(load_model("gpt2"), H100)
    for work in (Workload(1024), Workload(1024, 1), Workload(1023, 2), Workload(1024, requests=2)):
        assert compare(plan, work, 1.0).bound > 1
    for work in (Workload(1025), Workload(1024, 2), Workload(0, 1, cached=1024)):
        with pytest.raises(ValueError, match="1025"):
            compare(plan, work, 1.0)


@pytest.mark.parametrize("wrong", [{}, {"prompt": -1}, {"generated": 1.5}, {"generated": 5, "batch": 0},
                                   {"generated": 5, "batch": None}, {"generated": True}, {"prompt": "7"}])
def test_work_that_is_none(wrong):
    with pytest.raises(ValueError, match="expected"):
        Workload(**wrong)


def test_compare_prints_a_verdict_and_the_bound_under_load(capsys):
    work = ["--prompt", "6144", "--generate", "2k", "--batch", "8"]
    assert main(["compare", "qwen3-8b", "--measured", "474", *work]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    plan = Deployment(load_model("qwen3-8b"), H100)
    said = compare(plan, Workload(6144, 2048, 8), 474)
    assert shown.startswith(f"474.0 tokens/s are {said.share:.1%} of the bound of {said.bound:,.0f} tokens/s")
    loaded = compare(plan, Workload(6144, 2048, None, requests=10_000), 474)
    assert f"{loaded.work.batch} sequences at a time, the bound is {loaded.bound:,.0f} tokens/s" in shown
    assert "do not fit" not in shown
    assert main(["compare", "qwen3-8b", "--measured", "474", *work[:-1], str(plan.largest_batch(8192) + 1)]) == 0
    assert "sequences do not fit at their longest" in " ".join(capsys.readouterr().out.split())


def test_llama_bench(saved, capsys):
    rows = [{**LLAMA_BENCH, "n_prompt": 512, "n_gen": 0, "avg_ts": 7100.0},
            {**LLAMA_BENCH, "n_prompt": 0, "n_gen": 128, "n_depth": 512, "avg_ts": 118.9},
            {**LLAMA_BENCH, "n_prompt": 512, "n_gen": 128, "avg_ts": 500.0, "n_gpu_layers": 12}]
    said = found(capsys, "compare", "qwen2.5-7b", "--measured", saved(rows))
    assert [run["run"] for run in said] == ["pp512", "tg128 @ d512", "pp512+tg128"]
    assert {run["accelerator"] for run in said} == {"RTX 4090"}
    model = load_model("qwen2.5-7b")
    plan = Deployment(model, accelerators()["RTX 4090"], weight_bytes=Fraction(4_677_120_000, model.num_params))
    assert said[0]["bound_tokens_per_s"] == pytest.approx(512 / float(plan.time_to_first_token(1, 512)))
    assert said[1]["bound_tokens_per_s"] == pytest.approx(128 / plan.generation_time(1, 512, 129))
    seconds = float(plan.time_to_first_token(1, 512)) + plan.generation_time(1, 512, 128)
    assert said[2]["bound_tokens_per_s"] == pytest.approx(640 / seconds)
    assert any("n_gpu_layers = 12" in note for note in said[2]["notes"])
    lines = saved("\n".join(map(json.dumps, rows)))
    assert found(capsys, "compare", "qwen2.5-7b", "--measured", lines) == said


@pytest.mark.parametrize(("layers", "partly"), [(0, True), (98, True), (99, False), (-1, False)])
def test_layers_on_the_processor_are_said(layers, partly, saved):
    row = {**LLAMA_BENCH, "n_prompt": 8, "n_gen": 0, "avg_ts": 5.0, "n_gpu_layers": layers}
    [run] = read_results(saved(row))
    said = f"n_gpu_layers = {layers}: layers beyond these ran on the processor"
    assert any(said in note for note in run.notes) is partly


def test_vllm_serve(saved, capsys):
    (said,) = found(capsys, "compare", "Qwen/Qwen3-8B", "--measured", saved(SERVE))
    plan = Deployment(load_model("qwen3-8b"), H100)
    same = compare(plan, Workload(1024, 128, 64, requests=200), 320.0)
    assert said["bound_tokens_per_s"] == same.bound and said["share_of_bound"] == pytest.approx(same.share)
    (run,) = read_results(saved({**SERVE, "total_output_tokens": 25_701, "max_concurrency": None, "request_rate": 4.0}))
    assert run.work == Workload(1024, 128, None, requests=200, counted=25_701 / 200) and len(run.notes) == 2


def test_vllm_offline(saved, capsys):
    throughput = {"elapsed_time": 10.0, "num_requests": 100, "total_num_tokens": 64_000, "requests_per_second": 10.0}
    (run,) = read_results(saved(throughput), Given(512, 128))
    assert run.work == Workload(512, 128, None, requests=100, counted=640) and run.tokens_per_second == 6400
    assert "does not tell prompt and generated" in refused(capsys, "compare", "gpt2", "--measured", saved(throughput))
    latency = {"avg_latency": 0.5, "latencies": [0.5], "percentiles": {"50": 0.5}}
    (run,) = read_results(saved(latency), Given(512, 128, 8))
    assert run.work.batch == 8 and run.tokens_per_second == 8 * 128 / 0.5


@pytest.mark.parametrize(("content", "complaint"), [
    (UNSEEN, "expected those of llama-bench or vllm bench"), ([], "holds no run"), ([5], "expected an object"),
    ("tokens/s: 5", "expected JSON"), ("", "holds no run"), ("[" * 100_000, "expected JSON"),
    ({**LLAMA_BENCH, "n_prompt": 512, "n_gen": 0, "avg_ts": 5.0}, "model_n_params = 7615616512: expected about 135872"),
    ({"n_prompt": -1, "n_gen": 0, "avg_ts": 5.0}, "n_prompt = '-1': expected a whole number of at least 0"),
    ({"n_prompt": 8, "n_gen": 0, "avg_ts": float("nan")}, "avg_ts = 'nan': expected a positive number"),
    ({"n_prompt": 8, "n_gen": 0, "avg_ts": "fast"}, "avg_ts = 'fast': expected a positive number"),
    ({"n_prompt": 8, "n_gen": 0, "avg_ts": 5.0, "type_k": "q3_x"}, "'q3_x': expected one of f32"),
    ({"n_prompt": 8, "n_gen": 0, "avg_ts": 5.0, "gpu_info": "Radeon VII"}, "no accelerator 'Radeon VII'"),
    ({"n_prompt": 8, "n_gen": 0, "avg_ts": 5.0, "embeddings": True}, "embeddings = True"),
    ({**SERVE, "completed": 0}, "completed = '0': expected a whole number of at least 1"),
    ({**SERVE, "total_output_tokens": 5}, "expected at least completed = 200 of each"),
])
def test_result_files_that_are_refused(content, complaint, saved, unseen, capsys):
    assert complaint in refused(capsys, "compare", unseen, "--measured", saved(content))


def test_what_a_file_tells_is_not_to_be_told(saved, unseen, capsys):
    for option in (["--prompt", "5"], ["--batch", "5"], ["--requests", "5"], ["--cached", "5"]):
        assert "expected none beside" in refused(capsys, "compare", unseen, "--measured", saved(SERVE), *option)


# Whatever is asked, there is an answer or one line

WORDS = st.one_of(st.text(max_size=12), st.sampled_from([
    "", "0", "-1", "1k", "64k", "1m", "9" * 30, "int8", "4.85 bits", "80GB", "3TB/s", "1P", "a100", "H200 SXM", "gpt2",
    "deepseek-v3", "compare", "data-parallel", "nan", "1e5"]))
NAMES = st.sampled_from([f"--{name}" for name in (
    "batch", "context", "devices", "weights", "kv", "embeddings", "arithmetic", "attention", "experts", "accelerator",
    "peak", "bandwidth", "memory", "link", "measured", "prompt", "generate", "cached", "requests", "beyond-context")])


def answers(capsys, arguments):
    start = time.process_time()
    code = main(arguments)
    shown = capsys.readouterr()
    assert code in (0, 2) and time.process_time() - start < 5
    assert (shown.err.count("\n"), bool(shown.out)) == ((0, True) if code == 0 else (1, False))


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(compared=st.booleans(), model=st.sampled_from(["gpt2", "qwen3-30b-a3b", "gemma-2-2b"]),
       options=st.dictionaries(NAMES, WORDS, max_size=4))
def test_any_options(compared, model, options, capsys):
    words = [f"{name}={value}" for name, value in options.items()]
    answers(capsys, [*(["compare"] if compared else []), model, *words])


VALUES = st.one_of(st.none(), st.booleans(), st.integers(-2, 2**70), st.floats(), st.text(max_size=4),
                   st.lists(st.integers(), max_size=2), st.dictionaries(st.text(max_size=2), st.integers(), max_size=2))


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(base=st.sampled_from([UNSEEN, {**LLAMA_BENCH, "n_prompt": 8, "n_gen": 8, "avg_ts": 5.0}, SERVE]), data=st.data())
def test_any_file(base, data, saved, unseen, capsys):
    keys = st.sampled_from(sorted(base))
    changed = {**base, "model_n_params": PARAMETERS, **data.draw(st.dictionaries(keys, VALUES, min_size=1, max_size=3))}
    path = saved(changed)
    answers(capsys, [path] if base is UNSEEN else ["compare", unseen, "--measured", path])
