"""Reading a file of weights: tensors and plain values, nothing else is ever unpickled."""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch

from rpat.errors import ConfigError

SUFFIXES = (".pt", ".pth", ".ckpt", ".tar", ".safetensors")

RESAVE = (
    "save in the code that wrote it torch.save({k: v for k, v in model.state_dict().items()}, FILE)"
)


def read(path: Path) -> Mapping[str, Any]:
    """Return the content of a file; raises `ConfigError` where it cannot be read safely."""
    try:
        if path.is_dir():
            raise ConfigError(_folder(path))
        content = _safetensors(path) if path.suffix == ".safetensors" else _torch(path)
    except FileNotFoundError:
        raise ConfigError("there is no such file; write the path of a file of weights") from None
    except OSError as error:
        raise ConfigError(f"it cannot be read ({error.strerror or error})") from error
    if not isinstance(content, Mapping):
        raise ConfigError(
            f"it holds a {type(content).__name__}, not a dictionary of tensors; {RESAVE}"
        )
    return content


def _folder(path: Path) -> str:
    names = sorted(file.name for file in path.iterdir() if file.suffix in SUFFIXES)
    inside = f": {', '.join(names[:3])}" if names else ""
    return f"this is a folder; name a file of weights in it{inside}"


def _safetensors(path: Path) -> Mapping[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise ConfigError(
            f"it is not a safetensors file ({error}); a file of torch.save ends in .pt"
        ) from error


def _torch(path: Path) -> Any:
    if _is_torchscript(path):
        raise ConfigError(
            "it is a TorchScript archive, a program with its weights; load it with torch.jit.load "
            "and save torch.save(model.state_dict(), FILE)"
        )
    with path.open("rb") as stream, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, on the age of a pickle
        return _unpickle(stream)


def _unpickle(stream: BinaryIO) -> Any:
    try:
        return torch.load(stream, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # a damaged pickle raises anything
        raise ConfigError(_refusal(str(error))) from error


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except zipfile.BadZipFile:
        return False


def _refusal(text: str) -> str:
    """Say why torch refused a file: other objects in it, or no file of torch at all."""
    found = re.search(
        r"GLOBAL (\S+) (?:was not an allowed|whose module)|but got <class '([^']+)'>", text
    )
    if found:
        return (
            f"it holds other objects than tensors ({found[1] or found[2]}), and unpickling those "
            f"could run any code, so it is not done; {RESAVE}"
        )
    return "it is damaged or no file of torch.save; fetch it again, or name another"
