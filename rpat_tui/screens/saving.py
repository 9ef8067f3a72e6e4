"""Files that screens write where the window was opened; none is ever written over."""

from __future__ import annotations

from pathlib import Path

from rpat.errors import StoreError


def save(stem: str, ending: str, text: str) -> Path:
    """Write a text beside what is there: table.md, table-2.md; returns where.

    Raises `StoreError` where the folder cannot be written to.
    """
    number = 1
    while True:
        name = f"{stem}.{ending}" if number == 1 else f"{stem}-{number}.{ending}"
        path = Path.cwd() / name
        try:
            with path.open("x", encoding="utf-8") as out:
                out.write(text)
        except FileExistsError:
            number += 1
            continue
        except OSError as error:
            raise StoreError(f"{path} cannot be written ({error.strerror})") from error
        return path
