"""Compare the adaptive rule with captum's rules on seven trained networks; keep the runs for the benchmarks.

`python tools/seven_networks.py`: trains the networks if `nbs/data/seven_networks.safetensors` is missing
(some five minutes on two cores), then makes the runs of each network, output and baseline that
`nbs/data/seven_networks_runs.csv` lacks (passes and errors, the same on every machine but for rounding; two
hours on one core), then times those that decide (`nbs/data/seven_networks_times.csv`; minutes, on a quiet
machine). With `--runs` nothing is timed; with `--times` everything is timed anew. To measure all anew,
remove the files.
"""
import sys
from itertools import product
from pathlib import Path

import pandas as pd
import torch

from gcig.benchmarks import LIMITS, compare, deciding, network_windows, race, seven_networks
from gcig.core import progress, replacing

DATA = Path(__file__).resolve().parent.parent / "nbs/data"
WEIGHTS = DATA / "seven_networks.safetensors"
RUNS = DATA / "seven_networks_runs.csv"
TIMES = DATA / "seven_networks_times.csv"
CASE = ["network", "output", "baseline"]
OUTPUTS = ("probability", "log_odds")
BASELINES = ("zeros", "background")
SLOW = "dilated residual CNN"       # from zeros only, and without the tightest limit: that takes hours
WINDOWS = {50: 100, 100: 100, 500: 10}      # by their letters
FOR_CAPTUM = {50: 20, 100: 10, 500: 4}      # of these, for its steps take long
TIMED = {50: 200, 100: 60, 500: 4}          # windows: some seconds for each run of captum's
TIMED_LIMIT = 1e-3      # and from zeros only


def kept(path):
    "The table in a file, empty if there is none"
    return pd.read_csv(path) if path.exists() else pd.DataFrame(columns=CASE)


def keep(path, table):
    "Write a table whole or not at all"
    with replacing(path) as temporary: table.to_csv(temporary, index=False, float_format="%.5g")


def asked_of(name, baseline):
    "The limits of a case; at the tightest, captum's side takes most of the time"
    return LIMITS if baseline == "zeros" and name != SLOW else LIMITS[:2]


def lacking(networks, table):
    "The cases that a table does not hold, those from zeros first"
    known = set(table[CASE].itertuples(index=False, name=None))
    every = [(name, output, baseline) for baseline, name, output in product(BASELINES, networks, OUTPUTS)]
    cases = [case for case in every if case[0] != SLOW or case[2] == "zeros"]
    return [case for case in cases if case not in known]


def make_runs(networks):
    "Add the runs that are missing to the file, case by case"
    for case in progress(lacking(networks, kept(RUNS)), desc="runs", unit="case"):
        name, output, baseline = case
        model, length = networks[name]
        windows = network_windows(name, WINDOWS[length])
        limits = asked_of(name, baseline)
        found = compare(model, windows, output, baseline, limits, for_captum=FOR_CAPTUM[length])
        named = pd.DataFrame([case] * len(found), columns=CASE)
        keep(RUNS, pd.concat([kept(RUNS), pd.concat([named, found], axis=1)]))


def time_runs(networks):
    "Time what decides, one run after the other, for each network and output"
    runs = kept(RUNS)
    cases = [case for case in lacking(networks, kept(TIMES)) if case[2] == "zeros"]
    for case in progress(cases, desc="times", unit="case"):
        name, output, baseline = case
        own = runs[(runs[CASE] == list(case)).all(axis=1)]
        decided = deciding(own, TIMED_LIMIT)
        if any(row is None for row in decided.values()): continue
        model, length = networks[name]
        ms = race(model, network_windows(name, TIMED[length]), decided, output, baseline, repeats=1)
        row = dict(zip(CASE, case)) | dict(limit=TIMED_LIMIT) | ms
        keep(TIMES, pd.concat([kept(TIMES), pd.DataFrame([row])]))


def main(how):
    networks = seven_networks(WEIGHTS)
    if how != "--times": make_runs(networks)
    if how == "--times": TIMES.unlink(missing_ok=True)
    if how != "--runs": time_runs(networks)


if __name__ == "__main__":
    print(f"{torch.get_num_threads()} threads")
    main(sys.argv[1] if len(sys.argv) > 1 else "")
