"""Data sets: found, read, checked, cached, cut into splits and loaded, from small files."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision.datasets as tv
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms.functional import to_tensor

from rpat.config import DATASETS, DataConfig, DatasetFacts
from rpat.data import cache as kept
from rpat.data import cifar, digits, fetch, image_folder, tiny_imagenet
from rpat.data.dataset import Images, load, quotas
from rpat.data.loader import Loader, pixels
from rpat.data.locate import CIFAR_FILES, CIFAR_FOLDERS, Found, locate, missing
from rpat.errors import ConfigError, RunError
from rpat.rundir import read_json

DIGITS_FINGERPRINT = "fe215bc3c1987760609b074feb3b93cf128910090ab0f32d288759d541648d20"


def write_cifar(root: Path, name: str, per_file: int = 4) -> Path:
    """Write small files of the official CIFAR format; return their folder."""
    folder = root / CIFAR_FOLDERS[name]
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    classes = DATASETS[name].classes
    key = "labels" if name == "cifar10" else "fine_labels"
    for number, file in enumerate(CIFAR_FILES[name]):
        if "meta" in file:
            titles = [f"class{c:03d}" for c in range(classes)]
            entry = {"label_names" if name == "cifar10" else "fine_label_names": titles}
        else:
            data = random.integers(0, 256, (per_file, 3072)).astype(np.uint8)
            entry = {"data": data, key: [(number + i) % classes for i in range(per_file)]}
        (folder / file).write_bytes(pickle.dumps(entry, protocol=2))
    return folder


@pytest.fixture
def unchecked(monkeypatch):
    """Let torchvision take files whose digests are not the official ones."""
    for official in (tv.CIFAR10, tv.CIFAR100):
        for part in ("train_list", "test_list"):
            monkeypatch.setattr(official, part, [[f, None] for f, _ in getattr(official, part)])
        monkeypatch.setattr(official, "meta", {**official.meta, "md5": None})


def write_image(path: Path, number: int, size: tuple[int, int] = (32, 32)) -> None:
    """Write one image whose pixels follow from a number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(number)
    Image.fromarray(random.integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)).save(path)


def write_folder(root: Path, counts: dict[str, int], second: str = "test", size: int = 32) -> Path:
    """Write an image folder with two test images for every class."""
    number = 0
    for split in ("train", second):
        for name, count in counts.items():
            for i in range(count if split == "train" else 2):
                number += 1
                write_image(root / split / name / f"{i:03d}.png", number, (size, size))
    return root


def write_tiny(root: Path, layout: str = "official") -> Path:
    """Write three classes of Tiny-ImageNet in a layout of `val`."""
    folder = root / "tiny-imagenet-200"
    wnids = ["n03", "n01", "n02"]
    lines = []
    for c, wnid in enumerate(wnids):
        for i in (10, 2, 1):
            write_image(folder / f"train/{wnid}/images/{wnid}_{i}.JPEG", 100 * c + i, (64, 64))
        for i in (c, c + 9):
            inner = {"official": "images", "flat": wnid, "nested": f"{wnid}/images"}[layout]
            write_image(folder / "val" / inner / f"val_{i}.JPEG", 1000 + i, (64, 64))
            lines.append(f"val_{i}.JPEG\t{wnid}\t0\t0\t62\t62\n")
    lines.append("val_77.JPEG\tn01\t0\t0\t62\t62\n")  # an image that is not in this part
    (folder / "wnids.txt").write_text("\n".join(wnids) + "\n")
    (folder / "val/val_annotations.txt").write_text("".join(lines))
    return folder


def small_facts(monkeypatch, name: str, classes: int, size: int) -> None:
    """Make a known data set small enough for a test."""
    monkeypatch.setitem(DATASETS, name, DatasetFacts(name, classes, size, 0, 0))


def config(path: Path, name: str = "image-folder", **values) -> DataConfig:
    """Return the data section for a folder."""
    return DataConfig(name=name, dir=str(path), **values)


# --------------------------------------------------------------------------- locate


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_official_files_are_found_from_their_folder_and_from_its_parent(tmp_path, name):
    folder = write_cifar(tmp_path, name)
    expected = Found(name, "official", folder)
    assert locate(name, tmp_path) == expected
    assert locate(name, folder) == expected


def test_official_files_come_before_an_image_folder_unless_it_is_asked_for(tmp_path):
    folder = write_cifar(tmp_path, "cifar10")
    images = write_folder(tmp_path / "cifar10-images", {"a": 1})
    assert locate("cifar10", tmp_path) == Found("cifar10", "official", folder)
    assert locate("cifar10", tmp_path, "image-folder") == Found("cifar10", "image-folder", images)


def test_an_incomplete_official_folder_is_not_the_data_set(tmp_path):
    (write_cifar(tmp_path, "cifar10") / "data_batch_3").unlink()
    assert locate("cifar10", tmp_path) is None


@pytest.mark.parametrize("second", ["test", "val"])
@pytest.mark.parametrize("place", [".", "cifar100-images", "cifar100"])
def test_an_image_folder_stands_in_for_a_known_set(tmp_path, second, place):
    images = write_folder(tmp_path / place, {"a": 1}, second)
    assert locate("cifar100", tmp_path) == Found("cifar100", "image-folder", images)


def test_a_folder_without_test_images_is_no_image_folder(tmp_path):
    (tmp_path / "train/a").mkdir(parents=True)
    assert locate("image-folder", tmp_path) is None
    (tmp_path / "val/a").mkdir(parents=True)
    assert locate("image-folder", tmp_path) == Found("image-folder", "image-folder", tmp_path)


def test_tiny_imagenet_is_official_although_it_looks_like_an_image_folder(tmp_path):
    folder = write_tiny(tmp_path)
    for root in (tmp_path, folder):
        assert locate("tiny-imagenet", root) == Found("tiny-imagenet", "official", folder)


def test_digits_are_always_there_and_other_sets_are_not(tmp_path):
    nowhere = tmp_path / "nowhere"
    found = locate("digits", nowhere)
    assert found is not None
    assert found.source == "embedded"
    assert [name for name in DATASETS if locate(name, nowhere)] == ["digits"]


@pytest.mark.parametrize("name", [name for name in DATASETS if name != "digits"])
def test_what_is_missing_is_said_in_one_line_with_both_ways_out(tmp_path, name):
    line = missing(name, tmp_path)
    assert "\n" not in line
    assert str(tmp_path) in line
    assert "train/<class>/" in line
    assert "--data-dir PATH" in line
    assert "--dataset digits" in line


def test_looking_for_a_data_set_does_not_import_torch():
    code = "import sys, rpat.data.locate; print({'torch', 'numpy', 'PIL'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# --------------------------------------------------------------------------- readers


def test_digits_are_the_same_bytes_everywhere():
    decoded = digits.read(Path())
    assert decoded.train_images.shape == (1437, 3, 32, 32)
    assert decoded.test_images.shape == (360, 3, 32, 32)
    assert (decoded.train_images[:, 0] == decoded.train_images[:, 2]).all()
    assert decoded.fingerprint() == DIGITS_FINGERPRINT


def test_every_fifth_digit_is_a_test_image():
    from sklearn.datasets import load_digits

    decoded, target = digits.read(Path()), load_digits().target
    assert decoded.test_labels.tolist() == target[::5].tolist()
    assert decoded.train_labels[:4].tolist() == target[1:5].tolist()


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar_is_read_as_torchvision_reads_it(tmp_path, unchecked, name):
    folder = write_cifar(tmp_path, name)
    decoded = cifar.read(name, folder)
    reference = {"cifar10": tv.CIFAR10, "cifar100": tv.CIFAR100}[name](tmp_path, train=True)
    for place in (0, len(reference) - 1):
        image, label = reference[place]
        assert (decoded.train_images[place].transpose(1, 2, 0) == np.asarray(image)).all()
        assert decoded.train_labels[place] == label
    assert len(decoded.classes) == DATASETS[name].classes
    assert len(decoded.test_images) == 4


def test_the_official_folder_may_have_another_name(tmp_path, unchecked):
    renamed = write_cifar(tmp_path, "cifar10").rename(tmp_path / "mine")
    data = load(config(renamed, "cifar10"))
    assert (data.source, len(data.train), len(data.test)) == ("official", 20, 4)


def test_files_that_are_not_the_official_ones_are_refused_before_they_are_unpickled(tmp_path):
    folder = write_cifar(tmp_path, "cifar10")
    with pytest.raises(RunError, match=r"not the official ones.*--data-dir") as caught:
        cifar.read("cifar10", folder)
    assert caught.value.reason == "data"


def test_tiny_imagenet_is_the_same_in_every_layout(tmp_path):
    prints = set()
    for layout in ("official", "flat", "nested"):
        decoded = tiny_imagenet.read(write_tiny(tmp_path / layout, layout))
        prints.add(decoded.fingerprint())
    assert len(prints) == 1
    assert decoded.classes == ("n01", "n02", "n03")
    assert decoded.train_labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    # val_0, val_1, val_2, val_9, val_10, val_11 belong to n03, n01, n02, n03, n01, n02
    assert decoded.test_labels.tolist() == [2, 0, 1, 2, 0, 1]


def test_tiny_imagenet_says_which_class_has_no_image(tmp_path):
    folder = write_tiny(tmp_path)
    for file in (folder / "train/n02/images").iterdir():
        file.unlink()
    with pytest.raises(ConfigError, match="train has no image of class 'n02'"):
        tiny_imagenet.read(folder)


def test_an_image_folder_is_read_in_the_order_of_names(tmp_path):
    decoded = image_folder.read(write_folder(tmp_path, {"b": 2, "a": 3}))
    assert decoded.classes == ("a", "b")
    assert decoded.train_labels.tolist() == [0, 0, 0, 1, 1]
    first = np.asarray(Image.open(tmp_path / "train/a/000.png"))
    assert (decoded.train_images[0].transpose(1, 2, 0) == first).all()


def test_grey_and_transparent_images_become_rgb(tmp_path):
    write_folder(tmp_path, {"a": 1})
    grey = Image.new("L", (32, 32), 77)
    grey.save(tmp_path / "train/a/001.png")
    grey.convert("RGBA").save(tmp_path / "train/a/002.png")
    decoded = image_folder.read(tmp_path)
    assert (decoded.train_images[1:] == 77).all()


def test_splits_with_different_classes_are_refused(tmp_path):
    write_folder(tmp_path, {"a": 1, "b": 1})
    write_image(tmp_path / "train/c/0.png", 9)
    with pytest.raises(ConfigError, match=r"has 3 classes and .* 2.*'c' is only in one"):
        image_folder.read(tmp_path)


def test_a_class_without_images_is_refused(tmp_path):
    write_folder(tmp_path, {"a": 1})
    (tmp_path / "train/empty").mkdir()
    with pytest.raises(ConfigError, match="at least one image"):
        image_folder.read(tmp_path)


@pytest.mark.parametrize("size", [(32, 31), (16, 16)])
def test_images_of_another_size_are_refused_by_name(tmp_path, size):
    write_folder(tmp_path, {"a": 1})
    write_image(tmp_path / "train/a/odd.png", 1, size)
    with pytest.raises(ConfigError, match=rf"odd\.png is {size[0]}x{size[1]} pixels.*resize"):
        image_folder.read(tmp_path)


def test_a_broken_image_is_named(tmp_path):
    write_folder(tmp_path, {"a": 1})
    (tmp_path / "train/a/broken.png").write_bytes(b"no image")
    with pytest.raises(RunError, match=r"broken\.png cannot be read.*replace or delete") as caught:
        image_folder.read(tmp_path)
    assert caught.value.reason == "data"


# --------------------------------------------------------------------------- load


def test_images_lie_in_memory_in_their_order():
    for split in (load(DataConfig(name="digits")).train, load(DataConfig(name="digits")).test):
        assert split.images.is_contiguous()  # some attacks view gradients, which copy the layout


def test_digits_load_without_a_folder():
    data = load(DataConfig(name="digits"))
    assert (data.num_classes, data.image_size, data.source) == (10, 32, "embedded")
    assert (data.n_train_full, len(data.test), data.val) == (1437, 360, None)
    assert data.train.images.dtype == torch.uint8
    assert data.train.labels.dtype == data.train.index.dtype == torch.int64
    assert data.train.index.tolist() == list(range(1437))


def test_a_data_set_without_a_folder_is_a_wrong_request():
    with pytest.raises(ConfigError, match="--data-dir PATH"):
        load(DataConfig(name="cifar10"))


@pytest.mark.parametrize("name", ["tiny-imagenet", "image-folder"])
def test_a_missing_data_set_without_a_download_fails_with_the_ways_out(tmp_path, name):
    with pytest.raises(RunError, match=r"not in .*--dataset digits") as caught:
        load(config(tmp_path, name))
    assert caught.value.reason == "data"


def test_a_stand_in_with_other_classes_is_refused(tmp_path):
    write_folder(tmp_path, {"a": 1, "b": 1})
    with pytest.raises(ConfigError, match=r"has 2 classes, but CIFAR-10 has 10"):
        load(config(tmp_path, "cifar10", source="image-folder"))


def test_a_stand_in_with_other_sizes_is_refused(tmp_path, monkeypatch):
    small_facts(monkeypatch, "cifar10", 1, 32)
    write_folder(tmp_path, {"a": 1}, size=64)
    with pytest.raises(ConfigError, match="has 64 pixels a side, but cifar10 has 32"):
        load(config(tmp_path, "cifar10", source="image-folder"))


def test_splits_of_different_sizes_are_refused(tmp_path):
    write_folder(tmp_path, {"a": 1})
    write_image(tmp_path / "test/a/000.png", 1, (64, 64))
    write_image(tmp_path / "test/a/001.png", 1, (64, 64))
    with pytest.raises(ConfigError, match="32 and 64 pixels wide"):
        load(config(tmp_path))


def test_one_form_of_a_data_set_does_not_pass_for_the_other(tmp_path):
    write_folder(tmp_path, {"a": 1})
    with pytest.raises(ConfigError, match=r"data\.source is official.*data\.source=image-folder"):
        load(config(tmp_path, "cifar10"))


def test_an_image_folder_and_its_copy_have_one_fingerprint(tmp_path):
    here = write_folder(tmp_path / "here", {"a": 2, "b": 1})
    there = write_folder(tmp_path / "there", {"a": 2, "b": 1}, second="val")
    other = write_folder(tmp_path / "other", {"a": 2, "c": 1})
    prints = [load(config(path)).fingerprint for path in (here, there, other)]
    assert prints[0] == prints[1] != prints[2]


def test_subsets_are_balanced_and_keep_the_fingerprint_and_positions():
    full = load(DataConfig(name="digits"))
    part = load(DataConfig(name="digits", train_n=203, test_n=50))
    assert part.train.labels.bincount().tolist() == [21] * 3 + [20] * 7
    assert part.test.labels.bincount().tolist() == [5] * 10
    assert part.fingerprint == full.fingerprint
    assert part.n_train_full == 1437
    assert torch.equal(full.train.images[part.train.index], part.train.images)
    assert torch.equal(full.test.labels[part.test.index], part.test.labels)


def test_a_smaller_subset_is_part_of_a_larger_one():
    small, large = (load(DataConfig(name="digits", train_n=n)) for n in (100, 500))
    assert set(small.train.index.tolist()) < set(large.train.index.tolist())


def test_held_out_images_are_balanced_and_leave_the_training_set():
    data = load(DataConfig(name="digits", train_n=500, val_n=50))
    assert data.val is not None
    assert (len(data.train), len(data.val)) == (450, 50)
    assert data.val.labels.bincount().tolist() == [5] * 10
    both = set(data.train.index.tolist()) | set(data.val.index.tolist())
    assert both == set(load(DataConfig(name="digits", train_n=500)).train.index.tolist())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"train_n": 1438}, r"data\.train_n is 1438, but digits has 1437"),
        ({"test_n": 361}, r"data\.test_n is 361, but digits has 360"),
        ({"val_n": 1437}, r"data\.val_n is 1437, of 1437"),
        ({"train_n": 100, "val_n": 100}, r"data\.val_n is 100, of 100"),
    ],
)
def test_more_images_than_there_are_is_a_wrong_request(values, message):
    with pytest.raises(ConfigError, match=message):
        load(DataConfig(name="digits", **values))


@given(st.lists(st.integers(0, 30), min_size=1, max_size=12), st.data())
def test_quotas_share_out_exactly_and_evenly(counts, data):
    n = data.draw(st.integers(0, sum(counts)))
    shares = quotas(n, counts)
    assert sum(shares) == n
    assert all(0 <= share <= count for share, count in zip(shares, counts, strict=True))
    most = max(shares)
    assert all(s >= most - 1 or s == c for s, c in zip(shares, counts, strict=True))


def test_quotas_give_the_rest_to_the_first_classes():
    assert quotas(8, [9, 9, 9]) == [3, 3, 2]
    assert quotas(9, [9, 1, 9]) == [4, 1, 4]


# --------------------------------------------------------------------------- cache


@pytest.fixture
def folder(tmp_path) -> Path:
    """An image folder of two classes."""
    return write_folder(tmp_path / "images", {"a": 2, "b": 3})


def forbid_decoding(monkeypatch) -> None:
    """Fail the test if a file is decoded from now on."""
    monkeypatch.setattr("rpat.data.dataset._read", lambda found: pytest.fail("decoded again"))


def assert_equal(one: Images, other: Images) -> None:
    """Compare all tensors."""
    assert torch.equal(one.images, other.images)
    assert torch.equal(one.labels, other.labels)
    assert torch.equal(one.index, other.index)


def test_a_data_set_is_decoded_once(tmp_path, folder, monkeypatch):
    said = []
    first = load(config(folder), tmp_path / "cache", said.append)
    assert len(said) == 1
    assert "decoding" in said[0]
    forbid_decoding(monkeypatch)
    second = load(config(folder), tmp_path / "cache")
    assert second.fingerprint == first.fingerprint
    assert second.classes == first.classes
    assert_equal(second.train, first.train)
    assert_equal(second.test, first.test)


def test_a_changed_file_is_decoded_again(tmp_path, folder):
    first = load(config(folder), tmp_path / "cache")
    write_image(folder / "train/a/000.png", 999)
    os.utime(folder / "train/a/000.png", ns=(1, 1))
    second = load(config(folder), tmp_path / "cache")
    assert second.fingerprint != first.fingerprint
    assert not torch.equal(second.train.images, first.train.images)


def test_a_copy_shares_the_cached_images(tmp_path, folder):
    load(config(folder), tmp_path / "cache")
    copy = write_folder(tmp_path / "copy", {"a": 2, "b": 3})
    load(config(copy), tmp_path / "cache")
    assert len(list((tmp_path / "cache").glob("*/train.npy"))) == 1
    assert len(list((tmp_path / "cache/sources").iterdir())) == 2


def test_other_files_beside_an_image_folder_do_not_matter(folder):
    found = Found("image-folder", "image-folder", folder)
    before = kept.signature(found)
    (folder / "notes.txt").write_text("note")
    assert kept.signature(found) == before


@pytest.mark.parametrize("file", ["train.npy", "test.npy", "facts.json"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "delete"])
def test_a_damaged_cache_is_decoded_again_and_repaired(tmp_path, folder, file, damage, monkeypatch):
    first = load(config(folder), tmp_path / "cache")
    target = tmp_path / "cache" / first.fingerprint / file
    content = target.read_bytes()
    if damage == "delete":
        target.unlink()
    else:
        last = bytes([content[-9] ^ 1])
        damaged = {"flip": content[:-9] + last + content[-8:], "truncate": content[:-9]}
        target.write_bytes(damaged.get(damage, b""))
    assert_equal(load(config(folder), tmp_path / "cache").train, first.train)
    forbid_decoding(monkeypatch)
    assert_equal(load(config(folder), tmp_path / "cache").test, first.test)


def test_a_full_disk_costs_the_cache_and_not_the_run(tmp_path, folder, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kept, "replace", full)
    said = []
    data = load(config(folder), tmp_path / "cache", said.append)
    assert len(data.train) == 5
    assert "No space left on device" in said[-1]


def test_official_files_are_cached_too(tmp_path, unchecked, monkeypatch):
    write_cifar(tmp_path, "cifar100")
    first = load(config(tmp_path, "cifar100"), tmp_path / "cache")
    forbid_decoding(monkeypatch)
    assert load(config(tmp_path, "cifar100"), tmp_path / "cache").fingerprint == first.fingerprint


def test_digits_are_not_cached(tmp_path):
    load(DataConfig(name="digits"), tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_the_index_of_the_cache_names_the_fingerprint(tmp_path, folder):
    data = load(config(folder), tmp_path / "cache")
    key = kept.signature(Found("image-folder", "image-folder", folder))
    assert read_json(tmp_path / f"cache/sources/{key}.json") == {"fingerprint": data.fingerprint}


# --------------------------------------------------------------------------- download


@pytest.fixture
def server(tmp_path, monkeypatch, unchecked):
    """A stand-in for the download: unpacks a small archive and counts its calls."""
    write_cifar(tmp_path / "served", "cifar10")
    archive = tmp_path / "served.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "served", arcname=".")
    calls = []

    def download(url, download_root, extract_root, filename, md5):
        calls.append(url)
        with tarfile.open(archive) as tar:
            tar.extractall(
                extract_root, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {})
            )

    monkeypatch.setattr(fetch, "download_and_extract_archive", download)
    return calls


def test_a_missing_official_set_is_downloaded_once(tmp_path, server):
    said = []
    root = tmp_path / "data"
    data = load(config(root, "cifar10"), notify=said.append)
    assert (data.source, len(data.train)) == ("official", 20)
    load(config(root, "cifar10"))
    assert server == [tv.CIFAR10.url]
    assert said == [f"downloading cifar10 to {root}"]
    assert sorted(p.name for p in root.iterdir()) == [".cifar10.lock", "cifar-10-batches-py"]


def test_what_a_killed_download_left_is_replaced(tmp_path, server):
    left = tmp_path / "data/.cifar10-unpacked/cifar-10-batches-py"
    left.mkdir(parents=True)
    (left / "data_batch_1").write_bytes(b"half")
    assert len(load(config(tmp_path / "data", "cifar10")).train) == 20


def test_two_processes_download_once(tmp_path, server, monkeypatch):
    unpack, waiting = fetch.download_and_extract_archive, threading.Event()
    said = []

    def slow(*arguments, **options):
        assert waiting.wait(20)
        unpack(*arguments, **options)

    def hear(text):
        said.append(text)
        if "waiting" in text:
            waiting.set()

    monkeypatch.setattr(fetch, "download_and_extract_archive", slow)
    threads = [
        threading.Thread(target=fetch.fetch, args=("cifar10", tmp_path / "data", hear))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(server) == 1
    assert sorted(text.split()[0] for text in said) == ["downloading", "waiting"]


def test_a_failed_download_is_one_line_with_folder_reason_and_ways_out(tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise OSError("Name or service not known\nsecond line")

    monkeypatch.setattr(fetch, "download_and_extract_archive", refuse)
    with pytest.raises(RunError) as caught:
        load(config(tmp_path / "data", "cifar100"))
    line = str(caught.value)
    assert "\n" not in line
    parts = [str(tmp_path / "data"), "Name or service", "--data-dir PATH", "--dataset digits"]
    assert [part for part in parts if part not in line] == []
    assert caught.value.reason == "data"
    assert [p.name for p in (tmp_path / "data").iterdir()] == [".cifar100.lock"]


def test_an_incomplete_folder_is_not_overwritten(tmp_path, server):
    (tmp_path / CIFAR_FOLDERS["cifar10"]).mkdir()
    with pytest.raises(RunError, match="incomplete: delete that folder first"):
        load(config(tmp_path, "cifar10"))
    assert server == []


def test_a_stand_in_is_never_replaced_by_a_download(tmp_path, server):
    with pytest.raises(RunError, match="not in"):
        load(config(tmp_path, "cifar10", source="image-folder"))
    with pytest.raises(ConfigError, match="not downloaded"):
        fetch.fetch("tiny-imagenet", tmp_path)
    assert server == []


# --------------------------------------------------------------------------- loader


def some_images(n: int, size: int = 8) -> Images:
    """Return images of which each pixel tells the position."""
    index = torch.arange(n)
    images = index.to(torch.uint8)[:, None, None, None].expand(-1, 3, size, size).contiguous()
    return Images(images, index % 10, index + 1000)


def make(n: int, batch_size: int, seed: int = 0, **values) -> Loader:
    """Return a loader of small images."""
    values.setdefault("padding", 2)
    return Loader(some_images(n), batch_size, DataConfig(name="digits", **values), seed, "cpu")


def test_an_epoch_has_every_image_once_in_a_new_order():
    loader = make(50, 16)
    orders = [torch.cat([b.index for b in loader.epoch(e)]).tolist() for e in (0, 1)]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(1000, 1050))
    assert orders[0] != orders[1]
    assert [len(b.y) for b in loader.epoch(0)] == [16, 16, 16, 2]


def test_images_labels_and_positions_stay_together():
    for batch in make(50, 16, augment="none").epoch(3):
        assert batch.x.dtype == torch.float32
        position = batch.index - 1000
        assert torch.equal((batch.x[:, 0, 0, 0] * 255).round().long(), position)
        assert torch.equal(batch.y, position % 10)


@pytest.mark.parametrize("n", [48, 49, 50])
def test_the_length_is_the_number_of_batches_and_none_has_one_image(n):
    sizes = [len(b.y) for b in make(n, 16).epoch(0)]
    assert len(sizes) == len(make(n, 16)) == {48: 3, 49: 3, 50: 4}[n]
    assert min(sizes) > 1


def test_starting_within_an_epoch_gives_the_same_batches():
    whole = list(make(70, 16).epoch(2))
    rest = list(make(70, 16).epoch(2, start=3))
    assert len(rest) == len(whole) - 3
    for one, other in zip(whole[3:], rest, strict=True):
        assert torch.equal(one.x, other.x)
        assert torch.equal(one.index, other.index)


def test_seed_epoch_and_batch_each_change_the_crops():
    n = 32
    images = torch.randint(0, 256, (n, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    source = Images(images.to(torch.uint8), torch.zeros(n).long(), torch.arange(n))

    def crops(seed, epoch):
        loader = Loader(source, 32, DataConfig(name="digits", padding=2), seed, "cpu")
        (batch,) = loader.epoch(epoch)
        return batch.x[batch.index.argsort()]

    assert torch.equal(crops(0, 0), crops(0, 0))
    assert not torch.equal(crops(0, 0), crops(0, 1))
    assert not torch.equal(crops(0, 0), crops(1, 0))


def test_pixels_are_those_of_torchvision():
    image = np.arange(256, dtype=np.uint8).reshape(16, 16)
    ours = pixels(torch.from_numpy(image)[None])
    assert torch.equal(ours, to_tensor(Image.fromarray(image)))


def test_a_single_image_cannot_be_loaded():
    with pytest.raises(ConfigError, match="a batch needs two"):
        make(1, 16)


def test_a_reflection_wider_than_the_image_is_refused():
    with pytest.raises(ConfigError, match=r"data\.padding is 8.*8 pixels"):
        make(10, 4, padding=8, padding_mode="reflect")
    make(10, 4, padding=8)


# --------------------------------------------------------------------------- real files


def real(name: str) -> Path:
    """Return a folder of real images, or skip."""
    beside = Path(__file__).parents[2] / "../shared/data"
    root = Path(os.environ.get("RPAT_TEST_DATA", beside))
    found = locate(name, root)
    if found is None:
        pytest.skip(f"no unpacked {name} under RPAT_TEST_DATA or ../shared/data")
    return found.path


@pytest.mark.data
def test_the_real_part_of_tiny_imagenet_has_200_classes():
    data = load(config(real("tiny-imagenet"), "tiny-imagenet"))
    assert (data.num_classes, data.image_size, data.source) == (200, 64, "official")
    assert data.train.labels.bincount(minlength=200).min() > 0
