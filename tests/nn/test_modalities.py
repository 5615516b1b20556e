import pytest
import torch

from vitrail.nn.modalities import Modalities


@pytest.fixture
def modalities():
    torch.manual_seed(0)
    return Modalities(3, 4, drop=0.5)


def test_they_come_one_after_the_other_each_with_its_vector(modalities):
    parts = [torch.randn(2, count, 4) for count in (3, 1, 5)]
    x, mask = modalities(parts, None)
    assert mask is None
    for part, kind, piece in zip(parts, modalities.kinds, x.split([3, 1, 5], dim=1), strict=True):
        torch.testing.assert_close(piece, part + kind)
    x, mask = modalities(
        [parts[0], None, parts[2]], torch.tensor([[True, False, True], [False, False, True]])
    )
    torch.testing.assert_close(
        x, torch.cat([parts[0] + modalities.kinds[0], parts[2] + modalities.kinds[2]], 1)
    )
    assert mask.tolist() == [[True] * 8, [False] * 3 + [True] * 5]


def test_training_hides_some_of_what_is_there_but_never_all(modalities):
    torch.manual_seed(0)
    present = torch.tensor([[True, True, True], [True, False, True], [False, True, False]]).repeat(2000, 1)
    left = modalities.hide(present)
    assert not (left & ~present).any()
    assert left.any(1).all()
    three, two, one = (left[row::3].float().sum(1) for row in range(3))
    assert abs(three.mean() - (3 * 0.5 + 0.5**3)) < 0.05, "one stays where all would have gone"
    assert abs(two.mean() - (2 * 0.5 + 0.5**2)) < 0.05
    assert (one == 1).all()
    assert (left[::3].float().mean(0) - left[::3].float().mean()).abs().max() < 0.05, "none is spared"
    assert modalities.eval().hide(present) is present
    assert Modalities(3, 4).hide(present) is present
