"""The null-space constraint: exact identities of Harb et al. 2024."""

import torch

from histogenesis.canvas.averaging import downsample, project, upsample
from histogenesis.canvas.constraints import NullSpace, Relaxation
from histogenesis.core.sigmas import release_sigma


def test_downsampling_undoes_upsampling_exactly():
    y = torch.randn(8, 3, 100, 100, generator=torch.Generator().manual_seed(0))
    assert torch.equal(downsample(upsample(y, 2), 2), y)


def test_projection_meets_the_constraint_and_moves_no_further_than_needed():
    g = torch.Generator().manual_seed(1)
    u = torch.randn(2, 3, 16, 16, generator=g, dtype=torch.float64)
    y = torch.randn(2, 3, 8, 8, generator=g, dtype=torch.float64)
    bar = project(u, y, 2)
    assert torch.allclose(downsample(bar, 2), y, atol=1e-14)
    assert torch.allclose(project(bar, y, 2), bar, atol=1e-14)
    # eq. 12: the correction lies in the range of A^T, so it is orthogonal to everything that A does not see
    detail = u - upsample(downsample(u, 2), 2)
    assert abs(float(((bar - u) * detail).sum())) < 1e-10


def test_the_last_r_steps_run_free_and_no_other():
    sigmas = [80.0, 20.0, 5.0, 1.0, 0.2, 0.0]
    for r in range(5):
        constraint = NullSpace(relaxation=Relaxation(sigma=release_sigma(sigmas, r)))
        assert [constraint.projects(s) for s in sigmas[:-1]] == [True] * (5 - r) + [False] * r
