"""What makes an explanation true: `python tools/true_explanations.py [FILE]`

Trains ten networks by each of the recipes of `gcig.truth`, attributes the stories' twenty networks by each
method, and keeps what all figures of the page "what makes it true" are computed from, by default in
`nbs/data/true_explanations.npz`. Takes half an hour of one processor, in two processes. Cases are written one
by one, and those that the file holds already are not done again.
"""
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import torch

from gcig.benchmarks import twenty_networks
from gcig.truth import (BOTH_STRANDS, METHODS, RECIPES, exam, load_measured, measure,
                        measure_on_both_strands, run_recipe, save_measured)

DATA = Path(__file__).resolve().parent.parent / "nbs/data"
PROCESSES = 2       # as many cores as a small laptop or a runner has to spare


@cache
def asked(): return exam()


def run(name):
    "Measure one case"
    torch.set_num_threads(1)        # small networks gain nothing from more
    if name in RECIPES: return run_recipe(RECIPES[name], asked())
    twenty = twenty_networks(DATA / "twenty_networks.safetensors")
    if name == BOTH_STRANDS: return measure_on_both_strands(twenty, asked())
    return measure(twenty, asked(), scores=METHODS[name])


def main(path=DATA / "true_explanations.npz"):
    done = load_measured(path)
    names = [name for name in (*METHODS, BOTH_STRANDS, *RECIPES) if name not in done]
    with ProcessPoolExecutor(PROCESSES, get_context("spawn")) as pool:
        for name, found in zip(names, pool.map(run, names)):
            save_measured(path, load_measured(path) | {name: found})
            print(f"{name}: {found.seconds.sum():.0f} s of training", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
