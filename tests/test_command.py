"""The command: a config.json it has never seen, wrong names, and the same numbers as the package."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from lecture10 import BYTES, Deployment, accelerators, known_models, load_model
from lecture10.__main__ import main

UNSEEN = {"model_type": "llama", "hidden_size": 64, "intermediate_size": 160, "num_attention_heads": 4,
          "num_key_value_heads": 2, "num_hidden_layers": 3, "vocab_size": 100, "tie_word_embeddings": True}


@pytest.fixture
def unseen(tmp_path):
    file = tmp_path / "my-model.json"
    file.write_text(json.dumps(UNSEEN), encoding="utf-8")
    return str(file)


def test_json_is_what_the_package_says(unseen, capsys):
    assert main([unseen, "--accelerator", "h100 sxm", "--batch", "64", "--context", "512", "--weights", "int8",
                 "--kv", "fp8", "--devices", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    plan = Deployment(load_model(UNSEEN), accelerators()["H100 SXM"], 2, BYTES["int8"], BYTES["fp8"])
    attention, mlp, norms = 64 * 64 * 2 + 64 * 32 * 2, 3 * 64 * 160, 2 * 64
    assert found["num_params"] == 100 * 64 + 3 * (attention + mlp + norms) + 64 == found["weights"]
    assert found["kv_cache_per_sequence"] == 3 * 2 * 2 * 16 * 512
    assert found["time_per_output_token"] == float(plan.step_time(64, 1, 512))
    assert found["time_to_first_token"] == float(plan.time_to_first_token(1, 512))
    assert found["largest_batch"] == plan.largest_batch(512)
    assert found["throughput"] == pytest.approx(64 / found["time_per_output_token"])


def test_tables(unseen, capsys):
    assert main([unseen]) == 0
    shown = capsys.readouterr().out
    assert "my-model on H100 SXM" in shown and "attention projections" in shown and "tokens/s" in shown


def test_nothing_is_cut_off_in_a_narrow_window(unseen, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    assert main([unseen]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 60 and not any("…" in line for line in lines)


def test_what_does_not_fit_says_what_would(capsys):
    assert main(["llama-2-70b"]) == 0
    assert "does not fit, needs 2 devices" in capsys.readouterr().out


def test_list(capsys):
    assert main(["--list"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in (*known_models(), *accelerators()))
    assert main(["--list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["accelerators"] == list(accelerators())


@pytest.mark.parametrize(("arguments", "complaint"), [
    (["lama-3-8b"], "no model 'lama-3-8b': expected a config.json or a known model, such as 'llama-3-8b'"),
    (["gpt2", "--accelerator", "H101 SXM"], "no accelerator 'H101 SXM': did you mean 'H100 SXM'?"),
    (["gpt2", "--accelerator", "a100"], "did you mean 'A100 SXM 40GB' or 'A100 SXM 80GB'?"),
    (["gpt2", "--context", "2000"], "context = 2000: expected at most 1024"),
    (["gpt2", "--accelerator", "Gaudi 3", "--devices", "2"], "devices = 2: expected 1"),
    (["gpt2", "--arithmetic", "fp4"], "'H100 SXM' has no fp4 peak"),
    ([], "no model given"),
    (["gpt2", "--accelerator", ""], "no accelerator '': expected one of V100"),
])
def test_what_it_cannot_answer(arguments, complaint, capsys):
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert complaint in shown.err and shown.err.count("\n") == 1 and not shown.out


@pytest.mark.parametrize("arguments", [["gpt2", "--batch", "0"], ["gpt2", "--devices", "-1"],
                                       ["gpt2", "--weights", "int5"]])
def test_usage_errors(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    shown = capsys.readouterr()
    assert stopped.value.code == 2 and arguments[1] in shown.err and shown.err.count("\n") == 1 and not shown.out


def test_as_a_process():
    command = [sys.executable, "-m", "lecture10", "gpt2", "--context", "1000", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["num_params"] == 124_439_808
