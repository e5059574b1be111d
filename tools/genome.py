"""Attribute genomes of growing length as a user would, and say what it took.

`python tools/genome.py [LETTERS ...]`: each length is a process of `gcig attribute` with windows of 50
letters every 25, to bigWig, with deepG's network. Beside it stand the engine's own gradients a second, on
windows of the same genome in this process, and the largest difference between the track and the mean of
windows that were attributed one at a time. By default 100,000, 1,000,000 and 4,600,000 letters, which takes
some twenty minutes on two cores.
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

ROOT = Path(__file__).resolve().parent.parent
MAXLEN = 50             # letters that deepG's network reads
STEP = MAXLEN // 2      # every letter is in two windows, but for the first and the last ones
LENGTHS = [100_000, 1_000_000, 4_600_000]       # the last is about Escherichia coli
SAMPLE = 100_000        # letters on which the engine's speed is measured
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
    rng = np.random.default_rng(0)
    stretches = []
    n = 0
    while n < letters:
        probs = HIGH_GC if len(stretches) % 2 else EQUAL_DIST
        stretches.append(random_sequence(int(rng.integers(500, 5000)), probs, rng))
        n += len(stretches[-1])
    return "".join(stretches)[:letters]


def attribute(folder, genome):
    "Run the command; seconds and peak memory in MB"
    write_fasta(folder / "genome.fasta", [("chr", genome)])
    args = ["attribute", "net.safetensors", "genome.fasta", "--step", str(STEP), "--out", "genome.bw"]
    command = [sys.executable, "-c", WATCH, sys.executable, "-c", COMMAND, *args]
    start = perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    seconds = perf_counter() - start
    status, memory = map(float, done.stdout.split())
    if status: raise RuntimeError(f"gcig attribute ended with status {status:.0f}")
    return seconds, memory


def gradients(net, genome):
    "Gradients that all windows of `genome` take, and how many the engine takes in a second"
    X = one_hot(windows(genome[:SAMPLE], MAXLEN, STEP))
    start = perf_counter()
    mean = integrated_gradients(net, X, 0).n_gradients.double().mean().item()
    rate = mean * len(X) / (perf_counter() - start)
    n_windows = (len(genome) - MAXLEN) // STEP + 1
    return mean * n_windows, rate


def scores_alone(net, genome, start):
    "The scores of the letters of one window, attributed by itself"
    scores = integrated_gradients(net, one_hot(genome[start:start + MAXLEN]), 0).scores
    return scores[0].sum(0).double().numpy()


def difference(net, genome, track, n=50):
    "Largest difference at `n` places between the track and the mean of the windows there, attributed alone"
    worst = 0.
    for first in np.random.default_rng(1).integers(1, len(genome) // STEP - 2, n) * STEP:
        before = scores_alone(net, genome, first - STEP)
        after = scores_alone(net, genome, first)
        mean = (before[STEP:] + after[:STEP]) / 2
        stored = track.values("chr", int(first), int(first) + STEP, fillna=None)
        worst = max(worst, np.abs(mean - stored).max())
    return worst


def measure(net, genome, folder):
    "Attribute `genome`; what it took as a line of text"
    n = len(genome)
    seconds, memory = attribute(folder, genome)
    taken, rate = gradients(net, genome)
    off = difference(net, genome, pybigtools.open(str(folder / "genome.bw")))
    own_rate = taken / seconds
    return (f"{n:9,} letters: {seconds:6.0f} s, {n / seconds:5,.0f} letters/s, "
            f"peak memory {memory:5,.0f} MB, "
            f"{own_rate:6,.0f} gradients/s, {own_rate / rate:.0%} of the engine's, off by {off:.0e}")


def main(lengths):
    net = load_keras_weights(CNNLSTM(), np.load(ROOT / "nbs/data/deepg_reference.npz"))
    genome = made_up(max(lengths))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_model(net, folder / "net.safetensors")
        for n in lengths: print(measure(net, genome[:n], folder), flush=True)


if __name__ == "__main__":
    main([int(n.replace(",", "")) for n in sys.argv[1:]] or LENGTHS)
