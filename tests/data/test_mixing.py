"""Mixed batches equal their definitions."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from headstart.config.recipe_config import RecipeConfig
from headstart.config.registry.mixers import MIXERS
from headstart.data.mixing import cutmix, mixup
from headstart.factories import load_factory

IMAGES = torch.arange(16 * 3 * 8 * 12, dtype=torch.float32).view(16, 3, 8, 12)


@pytest.mark.parametrize("name", MIXERS)
def test_partners_are_a_permutation_and_draws_depend_on_the_step_alone(name: str) -> None:
    mixes = [load_factory(MIXERS[name])(IMAGES, alpha=0.4, seed=0, epoch=1, step=step) for step in range(300)]
    assert all(sorted(mix.partner.tolist()) == list(range(16)) for mix in mixes)
    assert all(0 <= mix.share <= 1 for mix in mixes)
    again = load_factory(MIXERS[name])(IMAGES, alpha=0.4, seed=0, epoch=1, step=7)
    assert again.share == mixes[7].share and torch.equal(again.images, mixes[7].images)
    assert torch.equal(again.partner, mixes[7].partner)


@pytest.mark.parametrize("name", MIXERS)
def test_alpha_of_a_mixer_is_a_field_of_the_recipe(name: str) -> None:
    assert getattr(RecipeConfig.model_validate({}), name) == 0


def test_mixup_blends_with_the_partner() -> None:
    mixes = [mixup(IMAGES, alpha=0.4, seed=0, epoch=1, step=step) for step in range(300)]
    for mix in mixes[:5]:
        expected = mix.share * IMAGES + (1 - mix.share) * IMAGES[mix.partner]
        assert torch.allclose(mix.images, expected, rtol=1e-5)
    assert np.mean([mix.share for mix in mixes]) == pytest.approx(0.5, abs=0.06)  # Beta(a, a) has mean 1/2


@given(st.floats(0.1, 5), st.integers(0, 1000))
def test_cutmix_replaces_one_rectangle_by_that_of_the_partner(alpha: float, step: int) -> None:
    mix = cutmix(IMAGES, alpha=alpha, seed=3, epoch=0, step=step)
    moved = mix.partner != torch.arange(16)
    for row in torch.nonzero(moved).flatten():
        replaced = (mix.images[row] == IMAGES[mix.partner[row]]).all(0)
        assert torch.equal(mix.images[row][:, ~replaced], IMAGES[row][:, ~replaced])
        assert mix.share == pytest.approx(1 - replaced.float().mean().item())
        if replaced.any():
            rows, columns = (torch.nonzero(replaced.any(axis)).flatten() for axis in (1, 0))
            assert replaced.sum() == len(rows) * len(columns)
            assert rows[-1] - rows[0] == len(rows) - 1 and columns[-1] - columns[0] == len(columns) - 1
    assert torch.equal(mix.images[~moved], IMAGES[~moved])


def test_mean_share_of_cutmix_is_above_one_half() -> None:
    """With alpha 1 the rectangle has a mean area of 1/2, of which the border cuts off a part."""
    shares = [cutmix(IMAGES, alpha=1.0, seed=0, epoch=0, step=step).share for step in range(500)]
    assert 0.55 < np.mean(shares) < 0.8
