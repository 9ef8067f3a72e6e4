"""Checkpoints: plain values only, replaced whole, and known by their tensors."""

from __future__ import annotations

import errno
import io
import pickle

import pytest
import torch

from rpat import checkpoint
from rpat.errors import RunError


def state() -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    return {
        "conv.weight": torch.randn(4, 3, generator=draw),
        "bn.count": torch.tensor(7),
        "half": torch.randn(2, generator=draw).half(),
    }


def test_what_is_saved_is_loaded(tmp_path, same):
    path = tmp_path / "checkpoints" / "last.pt"
    content = {"weights": state(), "t": 5, "best": {"online": {"epoch": 1}}, "flags": [True, None]}
    checkpoint.save(path, content)
    assert same(checkpoint.load(path), {"schema": 1, **content})
    assert [entry.name for entry in path.parent.iterdir()] == ["last.pt"]


def test_there_may_be_no_checkpoint(tmp_path):
    assert checkpoint.load(tmp_path / "last.pt") is None


def test_a_failed_save_leaves_the_old_checkpoint_and_no_other_file(tmp_path, same):
    path = tmp_path / "last.pt"
    checkpoint.save(path, {"t": 1})
    with pytest.raises((TypeError, AttributeError, pickle.PicklingError)):
        checkpoint.save(path, {"t": lambda: None})
    assert checkpoint.load(path)["t"] == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.pt"]


@pytest.mark.parametrize("room", [0, 1000])
def test_a_disk_that_fills_up_is_told_as_such(room, tmp_path, monkeypatch):
    class Full(io.RawIOBase):
        taken = 0

        def writable(self):
            return True

        def write(self, data):
            self.taken += len(data)
            if self.taken > room:
                raise OSError(errno.ENOSPC, "No space left on device")
            return len(data)

    monkeypatch.setattr(checkpoint, "replace", lambda path, write: write(Full()))
    with pytest.raises(OSError, match="No space left") as caught:
        checkpoint.save(tmp_path / "last.pt", {"weights": state()})
    assert caught.value.errno == errno.ENOSPC


def test_the_digest_depends_on_the_tensors_alone(tmp_path):
    weights = state()
    known = checkpoint.digest(weights)
    checkpoint.save(tmp_path / "a.pt", {"weights": weights, "note": "x"})
    checkpoint.save(tmp_path / "b.pt", {"more": 1, "weights": dict(reversed(weights.items()))})
    for name in ("a.pt", "b.pt"):
        assert checkpoint.digest(checkpoint.load(tmp_path / name)["weights"]) == known
    transposed = weights | {"conv.weight": weights["conv.weight"].t().contiguous().t()}
    assert not transposed["conv.weight"].is_contiguous()
    assert checkpoint.digest(transposed) == known
    parameters = {name: value.clone() for name, value in weights.items()}
    parameters["conv.weight"].requires_grad_()
    assert checkpoint.digest(parameters) == known


def test_the_digest_tells_values_names_types_and_shapes_apart():
    weights = state()
    other_value = weights["conv.weight"].clone()
    other_value[0, 0] += 1e-6
    changed = [
        weights | {"conv.weight": other_value},
        weights | {"conv.weight": weights["conv.weight"].view(3, 4)},
        weights | {"half": weights["half"].view(torch.int16)},
        weights | {"another": torch.zeros(1)},
        {name: value for name, value in weights.items() if name != "half"},
    ]
    digests = {checkpoint.digest(weights), *map(checkpoint.digest, changed)}
    assert len(digests) == len(changed) + 1


@pytest.mark.parametrize("keep", [0, 10, 500])
def test_a_damaged_checkpoint_is_named_with_the_remedy(tmp_path, keep):
    path = tmp_path / "last.pt"
    checkpoint.save(path, {"weights": state()})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(RunError, match=r"last.pt cannot be read .*move it away") as caught:
        checkpoint.load(path)
    assert caught.value.reason == "checkpoint"


def test_a_checkpoint_of_another_schema_is_refused(tmp_path):
    path = tmp_path / "last.pt"
    torch.save({"schema": 99}, path)
    with pytest.raises(RunError, match="schema 99; this version reads 1"):
        checkpoint.load(path)


class Payload:
    """Would create a file when it is unpickled."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return open, (str(self.target), "w")


def test_nothing_but_tensors_and_plain_values_is_unpickled(tmp_path):
    path, target = tmp_path / "last.pt", tmp_path / "made"
    torch.save({"schema": 1, "weights": Payload(target)}, path)
    with pytest.raises(RunError, match="cannot be read"):
        checkpoint.load(path)
    assert not target.exists()
