"""Event files for TensorBoard: a folder a run, with its curves, hyperparameters and config.

TensorBoard keeps values as 32-bit numbers. Its wall times count training and evaluation from the
run's start, without the pauses between attempts.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rpat_tui.exchange import Take
from rpat_tui.store import extract, queries

NEEDS = ("tensorboard", "tensorboard")
_RESULTS = ("clean", "pgd20", "aa", "mean", "nrr")


def write(take: Take, path: Path) -> dict[str, int]:
    """Write a folder for each run; a value that was not finite is NaN."""
    counts = {"runs": 0, "metrics": 0}
    numbers = {row["id"]: row["n"] for row in queries.runs(take.db, kind="", archived=True)}
    for run in take.ids:
        folder = path / run
        folder.mkdir()
        row = dict(zip(extract.columns("runs"), *extract.rows(take.db, "runs", [run]), strict=True))
        clock = _clock(take, numbers[run])
        with (folder / f"events.out.tfevents.0.{run}").open("wb") as stream:
            add = _adder(stream)
            add(clock(0), 0, None)
            for value in _facts(row):
                add(clock(0), 0, value)
            for value in _results(take, run):
                add(clock(0), int(row["epoch"] or 0), value)
            for _, name, _, step, number in extract.rows(take.db, "metrics", [run]):
                add(clock(step), step, _scalar(str(name), number))
                counts["metrics"] += 1
        counts["runs"] += 1
    return counts


def _adder(stream: Any) -> Callable[[float, Any, Any], None]:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter

    writer = RecordWriter(stream)

    def add(wall: float, step: int, value: Any) -> None:
        if value is None:
            event = Event(wall_time=wall, file_version="brain.Event:2")
        else:
            event = Event(wall_time=wall, step=step, summary=Summary(value=[value]))
        writer.write(event.SerializeToString())

    return add


def _scalar(name: str, number: Any) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary

    return Summary.Value(tag=name, simple_value=math.nan if number is None else number)


def _results(take: Take, run: str) -> Iterator[Any]:
    """Yield a run's numbers at its checkpoints, as one point each."""
    names = list(extract.columns("results"))
    for values in extract.rows(take.db, "results", [run]):
        row = dict(zip(names, values, strict=True))
        network = "" if row["network"] == "online" else f"{row['network']}/"
        for measure in _RESULTS:
            if row[measure] is not None:
                yield _scalar(f"result/{network}{row['checkpoint']}/{measure}", row[measure])


def _facts(row: Mapping[str, Any]) -> Iterator[Any]:
    """Yield what TensorBoard's pages HPARAMS and TEXT show of a run."""
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.types_pb2 import DT_STRING
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

    start = plugin_data_pb2.SessionStartInfo(group_name=row["run"])
    for key, value in _flat(json.loads(row["config"])).items():
        if isinstance(value, bool):
            start.hparams[key].bool_value = value
        elif isinstance(value, int | float):
            start.hparams[key].number_value = value
        else:
            start.hparams[key].string_value = str(value)
    ended = api_pb2.Status.Value(
        {"done": "STATUS_SUCCESS", "failed": "STATUS_FAILURE"}.get(row["state"], "STATUS_UNKNOWN")
    )
    end = plugin_data_pb2.SessionEndInfo(status=ended)
    version = metadata.PLUGIN_DATA_VERSION
    for tag, told in (
        (
            metadata.SESSION_START_INFO_TAG,
            plugin_data_pb2.HParamsPluginData(session_start_info=start, version=version),
        ),
        (
            metadata.SESSION_END_INFO_TAG,
            plugin_data_pb2.HParamsPluginData(session_end_info=end, version=version),
        ),
    ):
        plugin = SummaryMetadata.PluginData(
            plugin_name=metadata.PLUGIN_NAME, content=told.SerializeToString(deterministic=True)
        )
        yield Summary.Value(
            tag=tag, metadata=SummaryMetadata(plugin_data=plugin), tensor=metadata.NULL_TENSOR
        )
    words = json.dumps(json.loads(row["config"]), indent=2)
    text = f"{row['name']} {row['note']}\n\n".lstrip() + f"```json\n{words}\n```"
    yield Summary.Value(
        tag="config",
        metadata=SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text")),
        tensor=TensorProto(dtype=DT_STRING, string_val=[text.encode()]),
    )


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            out |= _flat(value, f"{prefix}{key}.")
        else:
            out[f"{prefix}{key}"] = ", ".join(map(str, value)) if isinstance(value, list) else value
    return out


def _clock(take: Take, n: int) -> Callable[[Any], float]:
    """Return the wall time of a step: linear between the ends of epochs."""
    (row,) = queries.runs(take.db, numbers=[n], archived=True)
    spent: dict[int, float] = {}
    for name in ("time/epoch_s", "time/eval_s"):
        for step, _, seconds in queries.points(take.db, n, name):
            spent[step] = spent.get(step, 0.0) + (seconds or 0.0)
    steps, walls = [0], [float(row["started"] or row["created"])]
    for step in sorted(spent):
        steps.append(step)
        walls.append(walls[-1] + spent[step])

    def wall(step: int) -> float:
        at = bisect_left(steps, step)
        if at == 0 or at == len(steps):
            return walls[min(at, len(walls) - 1)]
        share = (step - steps[at - 1]) / (steps[at] - steps[at - 1])
        return walls[at - 1] + share * (walls[at] - walls[at - 1])

    return wall
