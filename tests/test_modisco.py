"""TF-MoDISco reads what is written for it, and finds motifs that were planted."""
import numpy as np
import pytest
import torch
from torch import nn

from gcig.encoding import one_hot
from gcig.running import two_classes
from gcig.sequences import random_sequence
from gcig.tracks import attribute_windows, onehot_file, write_modisco

pytest.importorskip("modiscolite")
MOTIFS = ("TGACTCAGC", "CACGTGACC")
LENGTH = 300


class Finds(nn.Module):
    "Looks for the motifs, by a filter for each that answers to most of it"
    def __init__(self):
        super().__init__()
        width = len(MOTIFS[0])
        self.filters = nn.Conv1d(4, len(MOTIFS), width)
        with torch.no_grad():
            self.filters.weight.copy_(one_hot(list(MOTIFS)))
            self.filters.bias.fill_(2 - width)

    def forward(self, X):
        steepness = 2       # smooth, so that every letter has some score: the noise that modisco knows
        return nn.functional.softplus(steepness * self.filters(X)).sum((1, 2))


def planted(n):
    "Random records, each with one copy of each motif"
    rng = np.random.default_rng(0)
    for i in range(n):
        text = random_sequence(LENGTH, seed=(1, i))
        for half, motif in enumerate(MOTIFS):
            start = half * LENGTH // 2 + int(rng.integers(40, 100))
            text = text[:start] + motif + text[start + len(motif):]
        yield f"record{i}", text


def consensus(pattern):
    return "".join("ACGT"[i] for i in pattern.sequence.argmax(1))


def test_planted_motifs_are_found(tmp_path):
    from modiscolite.tfmodisco import TFMoDISco
    path = tmp_path / "scores.npz"
    how = dict(target=1, maxlen=LENGTH, output="log_odds", baseline="uniform", method="trapezoid", n_steps=20)
    write_modisco(path, attribute_windows(two_classes(Finds()), planted(150), **how))
    with np.load(path) as scores, np.load(onehot_file(path)) as code:
        contributions = scores["arr_0"]
        X = code["arr_0"]
    assert X.shape == contributions.shape == (150, 4, LENGTH) and (X.sum(1) == 1).all()
    np.random.seed(0)       # modisco draws from numpy's global generator
    found, _ = TFMoDISco(one_hot=X.transpose(0, 2, 1), hypothetical_contribs=contributions.transpose(0, 2, 1),
                         max_seqlets_per_metacluster=1000, n_leiden_runs=2)
    texts = [consensus(pattern) for pattern in found]
    for motif in MOTIFS: assert any(motif in text for text in texts), texts


def test_the_program_reads_the_files(tmp_path):
    "Both files as `modisco motifs` opens them"
    from modiscolite.cli import _load_input
    path = tmp_path / "scores.npz"
    how = dict(target=1, maxlen=LENGTH, output="log_odds", method="trapezoid", n_steps=1)
    write_modisco(path, attribute_windows(two_classes(Finds()), planted(3), **how))
    for file in (path, onehot_file(path)): assert _load_input(file).shape == (3, 4, LENGTH)
