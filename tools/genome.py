"""Attribute genomes of growing length as a user would, and say what it took: `python tools/genome.py [LETTERS ...]`.

Each length is a process of `gcig attribute` with windows of 50 letters every 25, to bigWig, with deepG's
network. Beside it stand the engine's own gradients a second, on windows of the same genome in this process,
and the largest difference between the track and the mean of windows that were attributed one at a time.
By default 100,000, 1,000,000 and 4,600,000 letters, which takes some twenty minutes on two cores.
"""
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np
import pybigtools

from gcig.attribution import integrated_gradients
from gcig.encoding import one_hot
from gcig.model import CNNLSTM, load_keras_weights, save_model
from gcig.sequences import EQUAL_DIST, HIGH_GC, random_sequence, windows, write_fasta

MAXLEN, STEP = 50, 25
COMMAND = "from gcig.cli import main; main()"
# a small parent for the command: a process is charged with the peak memory of the one that started it
WATCH = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
_, status, used = os.wait4(process.pid, 0)
print(status, used.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10))
"""


def made_up(letters):
    "A genome of stretches, 500 to 5,000 letters each, now equal_dist and now high_gc"
    rng, text, n = np.random.default_rng(0), [], 0
    while n < letters:
        text.append(random_sequence(int(rng.integers(500, 5000)), HIGH_GC if len(text) % 2 else EQUAL_DIST, rng))
        n += len(text[-1])
    return "".join(text)[:letters]


def attribute(folder, genome):
    "Run the command; seconds and peak memory in MB"
    write_fasta(folder / "genome.fasta", [("chr", genome)])
    start = perf_counter()
    args = ["attribute", "net.safetensors", "genome.fasta", "--step", str(STEP), "--out", "genome.bw"]
    done = subprocess.run([sys.executable, "-c", WATCH, sys.executable, "-c", COMMAND, *args], cwd=folder, capture_output=True, text=True)
    status, memory = map(float, done.stdout.split())
    if status: raise RuntimeError(f"gcig attribute ended with status {status:.0f}")
    return perf_counter() - start, memory


def gradients(net, genome):
    "Gradients that all windows of `genome` take, and how many the engine takes in a second"
    X = one_hot(windows(genome[:100_000], MAXLEN, STEP))
    start = perf_counter()
    mean = integrated_gradients(net, X, 0).n_gradients.double().mean().item()
    return mean * ((len(genome) - MAXLEN) // STEP + 1), mean * len(X) / (perf_counter() - start)


def difference(net, genome, track, n=50):
    "Largest difference at `n` places between the track and the mean of the windows there, each attributed alone"
    worst = 0.
    for first in np.random.default_rng(1).integers(1, len(genome) // STEP - 2, n) * STEP:
        alone = [integrated_gradients(net, one_hot(genome[s:s + MAXLEN]), 0).scores[0].sum(0).double().numpy() for s in (first - STEP, first)]
        worst = max(worst, np.abs((alone[0][STEP:] + alone[1][:STEP]) / 2 - track.values("chr", int(first), int(first) + STEP, fillna=None)).max())
    return worst


def main(lengths):
    net = load_keras_weights(CNNLSTM(), np.load(Path(__file__).resolve().parent.parent / "nbs/data/deepg_reference.npz"))
    genome = made_up(max(lengths))
    with tempfile.TemporaryDirectory() as folder:
        save_model(net, (folder := Path(folder)) / "net.safetensors")
        for n in lengths:
            seconds, memory = attribute(folder, genome[:n])
            taken, rate = gradients(net, genome[:n])
            off = difference(net, genome[:n], pybigtools.open(str(folder / "genome.bw")))
            print(f"{n:9,} letters: {seconds:6.0f} s, {n / seconds:5,.0f} letters/s, peak memory {memory:5,.0f} MB, "
                  f"{taken / seconds:6,.0f} gradients/s, {taken / seconds / rate:.0%} of the engine's, off by {off:.0e}", flush=True)


if __name__ == "__main__":
    main([int(n.replace(",", "")) for n in sys.argv[1:]] or [100_000, 1_000_000, 4_600_000])
