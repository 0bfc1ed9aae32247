"""Which samples a step of a training sees, and on which process."""

from __future__ import annotations

import pytest
import torch

from fluoropose.learning.training import batches as batches_module
from fluoropose.learning.training.batches import Batches


def test_processes_share_the_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = list(Batches(torch.arange(40), 4, seed=3, shuffle=True))
    shares = []
    for rank in range(3):
        monkeypatch.setattr(batches_module, "_rank", lambda rank=rank: (rank, 3))
        shares.append(list(Batches(torch.arange(40), 4, seed=3, shuffle=True)))
    assert [len(share) for share in shares] == [3, 3, 3]
    together = [batch for step in zip(*shares, strict=True) for batch in step]
    for (rows, seed), (expected, expected_seed) in zip(together, whole, strict=False):
        assert torch.equal(rows, expected)
        assert seed == expected_seed


@pytest.mark.parametrize(("samples", "processes"), [(40, 3), (10, 8), (500, 3)])
def test_processes_test_on_all_samples(samples: int, processes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    tested = []
    for rank in range(processes):
        monkeypatch.setattr(batches_module, "_rank", lambda rank=rank: (rank, processes))
        tested.append([rows for rows, _ in Batches(torch.arange(samples), 8, seed=3, shuffle=False)])
    assert len({len(one) for one in tested}) == 1
    assert torch.equal(torch.cat([rows for one in tested for rows in one]).unique(), torch.arange(samples))


def test_batches_are_handed_over_together() -> None:
    single = list(Batches(torch.arange(22), 4, seed=3, shuffle=True))
    several = Batches(torch.arange(22), 4, seed=3, shuffle=True, together=3)
    assert (several.steps, len(several)) == (5, 2)
    joined = list(several)
    assert [len(rows) for rows, _ in joined] == [12, 8]
    assert torch.equal(torch.cat([rows for rows, _ in joined]), torch.cat([rows for rows, _ in single]))
    assert [seed for _, seed in joined] == [single[0][1], single[3][1]]
