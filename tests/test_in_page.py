"""The network in a real browser, in a worker and in a page, and the files of TensorFlow.js that it takes."""
import shutil
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import torch

from gcig.attribution import integrated_gradients
from gcig.encoding import one_hot
from gcig.in_page import engine, worker
from gcig.model import CNNLSTM
from gcig.sequences import random_sequence

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def tfjs():
    "The script that fetches TensorFlow.js, as a module"
    spec = spec_from_file_location("tfjs", ROOT / "tools/tfjs.py")
    module = module_from_spec(spec)
    sys.modules["tfjs"] = module        # where its dataclass looks for itself
    spec.loader.exec_module(module)
    return module


def test_the_files_are_those_that_were_published():
    command = [sys.executable, ROOT / "tools/tfjs.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


ALL_FILES = ("tf-core.min.js", "tf-backend-cpu.min.js", "LICENSE", "NOTICE", "tfjs.json")


@pytest.mark.parametrize("name", ALL_FILES)
def test_a_change_to_a_file_is_seen(tfjs, tmp_path, name):
    copy = tmp_path / "tfjs"
    shutil.copytree(ROOT / "gcig/tfjs", copy)
    assert tfjs.problems(tfjs.lying(copy)) == []
    path = copy / name
    path.write_bytes(path.read_bytes().replace(b"a", b"b", 1))
    assert [name in sentence for sentence in tfjs.problems(tfjs.lying(copy))] == [True]
    path.unlink()
    assert [name in sentence for sentence in tfjs.problems(tfjs.lying(copy))] == [True]


# a worker made of text, which answers questions one by one, with the time that each took
IN_A_WORKER = """async ([text, questions]) => {
  const worker = new Worker(URL.createObjectURL(new Blob([text], {type: "text/javascript"})))
  const found = []
  for (const question of questions) {
    const start = performance.now()
    worker.postMessage(question)
    const {data} = await new Promise((resolve, reject) => {
      worker.onmessage = resolve
      worker.onerror = reject
    })
    found.push({...data, milliseconds: performance.now() - start})
  }
  return found
}"""


def test_a_worker_and_a_page_say_what_python_says(page):
    network = CNNLSTM(seed=0).eval()
    sequences = [random_sequence(50, seed=i) for i in range(12)]
    common = dict(kind="attribute", network="n", target=1, output="log_odds", baseline="uniform",
                  rule="trapezoid", n=50)
    questions = [dict(id=i, sequence=sequence) | common for i, sequence in enumerate(sequences)]
    asked = [*questions, dict(id="x", kind="predict", networks=["n"], sequence="NOT DNA")]
    page.context.set_offline(True)
    *answers, refused = page.evaluate(IN_A_WORKER, [worker({"n": network}), asked])
    assert refused["id"] == "x" and refused["problem"].startswith("sequence must hold A, C, G and T only")
    X = one_hot(sequences)
    found = integrated_gradients(network, X, 1, "uniform", "log_odds", "trapezoid", n_steps=50)
    hypothetical = torch.tensor([a["answer"]["hypothetical"] for a in answers]).transpose(1, 2)
    assert [a["id"] for a in answers] == list(range(12))
    assert (hypothetical - found.hypothetical).abs().max() < 1e-5
    times = sorted(a["milliseconds"] for a in answers)
    print(f"an attribution with 51 points in Chromium: {times[6]:.0f} ms, at best {times[0]:.0f}")
    page.set_content(f"<!DOCTYPE html><script>{engine({'n': network})}</script>")
    said = page.evaluate("question => answer(question)", common | dict(sequence=sequences[0]))
    assert said == answers[0]["answer"]
