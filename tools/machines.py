"""Measure work that is shared among processes.

`python tools/machines.py share` attributes a million random letters with the tutorial's network by one
process and by `--workers 2` with the same threads in all, and compares the files byte by byte (seven minutes
on two cores). `kills` does the same to one percent, while a worker is killed at five random moments, and then
while the client is, which goes on by `--resume`. `memory` looks at the client's memory with records of 4.6
and 9.2 million letters. `scale` gives a client 200 workers that answer after the time that a core would
take, and at once for the first row, and counts the letters a second that it cuts, sends, takes and writes.
"""
import os
import random
import subprocess
import sys
import tempfile
import threading
from functools import partial
from pathlib import Path
from time import perf_counter, sleep

import dask
import numpy as np
import psutil
from distributed import Client, LocalCluster

from gcig.benchmarks import tutorial_network
from gcig.machines import on_dask
from gcig.model import save_model
from gcig.sequences import random_sequence, write_fasta
from gcig.tracks import Machines, attribute_records, write_tracks

GCIG = [sys.executable, "-c", "from gcig.cli import main; main()"]
STEP = 25
BATCH = 4096 * STEP             # letters that a batch adds to a track
A_CORE = 6_000      # letters a second of one core with the network of the tutorial, to one percent
WORKERS = 200
TURNS = 1
KILLS = 5
CHANCE = random.Random(0)
# 200 workers that watch themselves a hundred times a second would be the work of this one process
UNWATCHED = {"distributed.worker.profile.enabled": False, "distributed.admin.tick.interval": "1s",
             "distributed.admin.system-monitor.interval": "1h"}
LOOSE = ("--rtol", ".01", "--atol", ".01")
QUICK = ("--method", "trapezoid", "--n-steps", "1")    # the client's part is the same


def started(folder, out, threads, *more):
    "The command's process"
    command = [*GCIG, "attribute", "net.safetensors", "genome.fasta", "--out", out, *more]
    return subprocess.Popen(command, cwd=folder, env=os.environ | {"OMP_NUM_THREADS": str(threads)},
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def attribute(folder, out, threads, *more):
    "Run the command; the seconds that it took and the most memory in MB of its first process"
    start = perf_counter()
    process = started(folder, out, threads, *more)
    most = 0
    watched = psutil.Process(process.pid)
    while process.poll() is None:
        try: most = max(most, watched.memory_info().rss)
        except psutil.NoSuchProcess: break
        sleep(.1)
    if process.wait(): raise RuntimeError("gcig attribute failed")
    return perf_counter() - start, most / 2**20


def made_up(folder, letters):
    "A network and a genome of one record"
    save_model(tutorial_network(), folder / "net.safetensors")
    write_fasta(folder / "genome.fasta", [("chr", random_sequence(letters, seed=0))])


def share(folder):
    made_up(folder, 1_000_000)
    for _ in range(TURNS):
        alone, _ = attribute(folder, "one.bedgraph", 2)
        shared, _ = attribute(folder, "two.bedgraph", 1, "--workers", "2")
        print(f"one process {alone:.1f} s, two workers {shared:.1f} s, {shared / alone:.2f} times; "
              f"same bytes: {same_bytes(folder, 'one.bedgraph', 'two.bedgraph')}", flush=True)


def same_bytes(folder, *names):
    first, second = ((folder / name).read_bytes() for name in names)
    return first == second


def kill_a_worker(process):
    "Kill one of the workers at random; whether there was one"
    children = psutil.Process(process.pid).children(recursive=True)
    workers = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
    if workers: CHANCE.choice(workers).kill()
    return bool(workers)


def moment(): sleep(CHANCE.uniform(2, 15))      # seconds; a batch takes some fifteen


def kills(folder):
    made_up(folder, 1_000_000)
    attribute(folder, "one.bedgraph", 2, *LOOSE)
    process = started(folder, "workers.bedgraph", 1, "--workers", "2", *LOOSE)
    killed = 0
    while killed < KILLS and process.poll() is None:
        moment()
        killed += kill_a_worker(process)
    code = process.wait()
    print(f"{killed} workers killed, exit status {code}, "
          f"same bytes: {same_bytes(folder, 'one.bedgraph', 'workers.bedgraph')}", flush=True)
    kept = []
    for _ in range(KILLS):
        process = started(folder, "client.bedgraph", 1, "--workers", "2", "--resume", *LOOSE)
        moment()
        moment()
        process.kill()
        process.wait()
        kept.append(len(list(folder.glob("client.bedgraph.shards/[0-9]*.shard"))))
    attribute(folder, "client.bedgraph", 1, "--workers", "2", "--resume", *LOOSE)
    print(f"client killed with {kept} of ten batches finished, "
          f"same bytes: {same_bytes(folder, 'one.bedgraph', 'client.bedgraph')}", flush=True)


def memory(folder):
    for letters in (4_600_000, 9_200_000):
        made_up(folder, letters)
        seconds, most = attribute(folder, "two.bedgraph", 1, "--workers", "2", *QUICK)
        print(f"{letters:,} letters: {seconds:.0f} s, client {most:.0f} MB", flush=True)


def answer(wait, letters):
    "What a worker would send back, after the time that it would take"
    sleep(wait)
    return np.random.default_rng(len(letters)).normal(size=letters.shape)


def in_place_of_work(machines, wait):
    "Machines that answer, whatever the work is"
    return Machines(lambda work: machines.start(partial(answer, wait)), machines.ahead)


def scale(folder):
    process = psutil.Process()
    how = dict(threads_per_worker=1, processes=False, dashboard_address="localhost:0", memory_limit=0)
    with dask.config.set(UNWATCHED), LocalCluster(n_workers=WORKERS, **how) as cluster:
        with Client(cluster) as client:
            for wait, letters in ((0, 20_000_000), (BATCH / A_CORE, 2 * WORKERS * BATCH)):
                records = [("chr", random_sequence(letters, seed=0))]
                machines = in_place_of_work(on_dask(client), wait)
                tracks = attribute_records(tutorial_network(), records, machines=machines, joined=False)
                start = perf_counter()
                write_tracks(folder / "track.bedgraph", tracks)
                rate = letters / (perf_counter() - start)
                print(f"{WORKERS} workers that take {wait:.1f} s a batch: {rate:,.0f} letters a second, "
                      f"{process.memory_info().rss / 2**20:.0f} MB with all of them in it, "
                      f"{threading.active_count()} threads", flush=True)


if __name__ == "__main__":
    for name in sys.argv[1:] or ("share", "memory", "scale"):
        with tempfile.TemporaryDirectory() as folder: globals()[name](Path(folder))
