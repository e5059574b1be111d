"""What a GPU makes of it: `python tools/gpu.py`

Prints whether scores agree with the CPU's, passes a second of the engine beside those of a bare loop, each at
its best batch, and the memory that this takes, for the tutorial's network and a dilated residual CNN. Takes
a few minutes; where there is no GPU, it says so.
"""
import copy
import sys
import time

import torch

from gcig.attribution import integrated_gradients
from gcig.encoding import one_hot
from gcig.model import CNNLSTM, other_networks
from gcig.running import differentiating
from gcig.sequences import EQUAL_DIST, HIGH_GC, random_sequence
from gcig.training import ClassWindows, fit

BATCHES = (512, 2048, 8192, 32768)      # places at once; a GPU wants many
WINDOWS = {50: 2048, 500: 128}          # by their letters: enough to keep a GPU busy for some seconds
RULES = {"trapezoid": dict(method="trapezoid"), "DeepLIFT": dict(method="deep_lift"),
         "secants": dict(method="secants"), "gradients": dict(method="gradients")}
SECONDS = 3.                            # of the bare loop, at each batch


def tutorial_network():
    "The network of the tutorial, trained on the CPU"
    def simulated(probs, seed): return [random_sequence(20_000, probs, seed)]
    train, valid = (ClassWindows(dict(high_gc=simulated(HIGH_GC, i), equal_dist=simulated(EQUAL_DIST, i + 1)))
                    for i in (0, 2))
    model = CNNLSTM(seed=0)
    fit(model, train, valid, epochs=3, seed=0)
    return model


def windows(n, length):
    "Windows of both classes in turn"
    return one_hot([random_sequence(length, (HIGH_GC, EQUAL_DIST)[i % 2], seed=(3, i)) for i in range(n)])


def parity(model, X):
    "Largest difference of scores from the CPU's, relative to their L1 norm, by rule"
    on_gpu = copy.deepcopy(model).cuda()
    for name, how in RULES.items():
        here = integrated_gradients(model, X, 0, output="log_odds", **how)
        there = integrated_gradients(on_gpu, X, 0, output="log_odds", **how)
        off = (there.scores.cpu() - here.scores).abs().sum((1, 2)) / here.scores.abs().sum((1, 2))
        rules = ", ".join(sorted(set(there.rule)))
        print(f"  {name:9} differs from the CPU by at most {off.max():.1e} ({rules})")


def bare_rate(model, X, batch):
    "Passes a second of a forward and backward pass, over and over"
    x = X.repeat(-(-batch // len(X)), 1, 1)[:batch].cuda()
    def once():
        point = x.clone().requires_grad_()
        torch.autograd.grad(model(point).softmax(1)[:, 0].sum(), point)
        torch.cuda.synchronize()
    with differentiating(model):
        once()
        count, start = 0, time.perf_counter()
        while time.perf_counter() - start < SECONDS:
            once()
            count += batch
        return count / (time.perf_counter() - start)


def engine_rate(model, X, batch, method):
    "Passes a second of `integrated_gradients`, and the most memory that it took, in MB"
    torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    found = integrated_gradients(model, X.cuda(), 0, method=method, batch_size=batch, rtol=1e-2)
    torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    return found.n_gradients.sum().item() / seconds, torch.cuda.max_memory_allocated() / 2**20


def fits(f, *args):
    "What `f` returns, or None where memory does not do"
    try: return f(*args)
    except torch.OutOfMemoryError: return None


def speed(model, X):
    "Rates of the bare loop and of the engine by both rules"
    model = copy.deepcopy(model).cuda()
    rates = {batch: fits(bare_rate, model, X, batch) for batch in BATCHES}
    rates = {batch: rate for batch, rate in rates.items() if rate}
    best = max(rates, key=rates.get)
    print(f"  bare loop {rates[best]:,.0f} passes/s at batches of {best:,}")
    for method in ("gradients", "secants"):
        found = {batch: fits(engine_rate, model, X, batch, method) for batch in rates}
        found = {batch: result for batch, result in found.items() if result}
        batch = max(found, key=found.get)
        rate, memory = found[batch]
        part = rate / rates[best]
        print(f"  {method} {rate:,.0f} passes/s ({part:.0%}) at batches of {batch:,}, {memory:,.0f} MB")


def main():
    "Measure all"
    if not torch.cuda.is_available():
        print("no GPU here: nothing to measure")
        return
    print(torch.cuda.get_device_name(), "torch", torch.__version__)
    networks = {"the tutorial's network": (tutorial_network(), 50),
                "dilated residual CNN": other_networks()["dilated residual CNN"]}
    for name, (model, length) in networks.items():
        print(f"{name}, windows of {length}")
        X = windows(WINDOWS[length], length)
        parity(model, X[:32])
        speed(model, X)


if __name__ == "__main__": sys.exit(main())
