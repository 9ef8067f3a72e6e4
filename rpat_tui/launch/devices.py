"""The slots a run can have on this machine: one a GPU, or some on the CPU."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Slot:
    """A place for one run."""

    name: str  # cpu:0, cuda:1
    title: str
    takes: tuple[str, ...]  # values of a run's `device` that fit here

    def environment(self, device: str) -> dict[str, str]:
        """What a run's processes must see: only the slot's GPU, unless it named one itself."""
        if self.name.startswith("cuda:") and device == "auto":
            return {"CUDA_VISIBLE_DEVICES": self.name.removeprefix("cuda:")}
        return {}


def slots(cpu_slots: int) -> list[Slot]:
    """Return this machine's slots; the CPU's take `auto` runs only where there is no GPU."""
    gpus = [
        Slot(f"cuda:{i}", title, ("auto", f"cuda:{i}", *(("cuda",) if i == 0 else ())))
        for i, title in enumerate(gpu_names())
    ]
    takes = ("cpu",) if gpus else ("cpu", "auto")
    return gpus + [Slot(f"cpu:{i}", "CPU", takes) for i in range(cpu_slots)]


def gpu_names() -> list[str]:
    """Return the names of the NVIDIA GPUs in the driver's order; none where there is no driver."""
    try:
        import pynvml
    except ImportError:
        return []
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        handles = map(pynvml.nvmlDeviceGetHandleByIndex, range(pynvml.nvmlDeviceGetCount()))
        return [str(pynvml.nvmlDeviceGetName(handle)) for handle in handles]
    except pynvml.NVMLError:
        return []
    finally:
        pynvml.nvmlShutdown()
