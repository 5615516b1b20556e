import pytest
import torch

from vitrail.run.train import split_batch
from vitrail.values import Batch


@pytest.mark.parametrize(
    ("count", "parts", "sizes"), [(8, 1, [8]), (9, 4, [2, 2, 2, 3]), (5, 4, [2, 3]), (1, 3, [1])]
)
def test_parts_cover_the_batch_and_none_is_a_single_picture(count, parts, sizes):
    keys = [str(number) for number in range(count)]
    batch = Batch(keys=keys, pixels={"image": torch.arange(count)}, targets={"label": torch.arange(count)})
    cut = split_batch(batch, parts)
    assert [len(part) for part in cut] == sizes
    assert [key for part in cut for key in part.keys] == keys
    assert torch.equal(torch.cat([part.targets["label"] for part in cut]), torch.arange(count))
