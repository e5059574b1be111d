"""What makes an explanation true: `python tools/true_explanations.py [FILE]`

Trains ten networks by each of the recipes of `gcig.truth`, attributes the stories' twenty networks by each
method, and keeps what all figures of the page "what makes it true" are computed from, by default in
`nbs/data/true_explanations.npz`. After each case the file is written, and what it holds already is not done
again.
"""
import sys
import time
from functools import partial
from pathlib import Path

import torch

from gcig.benchmarks import twenty_networks
from gcig.truth import (BOTH_STRANDS, METHODS, RECIPES, exam, load_measured, measure,
                        measure_on_both_strands, run_recipe, save_measured)

DATA = Path(__file__).resolve().parent.parent / "nbs/data"


def main(path=DATA / "true_explanations.npz"):
    torch.set_num_threads(1)        # small networks gain nothing from more
    at = exam()
    twenty = twenty_networks(DATA / "twenty_networks.safetensors")
    work = {name: partial(measure, twenty, at, scores=scores) for name, scores in METHODS.items()}
    work[BOTH_STRANDS] = partial(measure_on_both_strands, twenty, at)
    work |= {name: partial(run_recipe, recipe, at) for name, recipe in RECIPES.items()}
    for name, run in work.items():
        cases = load_measured(path)
        if name in cases: continue
        start = time.process_time()
        save_measured(path, cases | {name: run()})
        print(f"{name}: {time.process_time() - start:.0f} s of one processor", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
