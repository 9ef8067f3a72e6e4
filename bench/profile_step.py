"""Where the time of one training step goes, in each mode, and how far it is from the floor.

    python bench/profile_step.py [--model resnet18] [--methods pgd-at+rpat] [--batch-size 32]
                                 [--threads 1] [--device cpu]

Self times by kind of operation from torch's profiler, of one warm step. The floor is the step's
minimum arithmetic at the rate of a large matrix product of random numbers, in float32 and bfloat16.
"""

from __future__ import annotations

import argparse
from collections import Counter

import torch
from gpu import FORWARD, PASSES
from step import Candidate, batches, configured, machine, options, synchronize, timed
from torch.profiler import ProfilerActivity, profile

KINDS = {
    "convolution, backward": ("convolution_backward", "mkldnn_convolution_backward"),
    "convolution, forward": ("convolution", "conv2d"),
    "BatchNorm": ("batch_norm",),
    "ReLU": ("relu", "threshold", "clamp_min"),
    "additions and copies": ("add", "copy_", "contiguous", "clone", "fill_", "zero_", "to"),
}
"""Kind -> what the names of its operations contain; the first kind that fits counts."""


def kind_of(name: str) -> str:
    """Return the kind of an operation."""
    return next((k for k, parts in KINDS.items() if any(p in name for p in parts)), "the rest")


def rate(dtype: torch.dtype, device: torch.device, size: int = 2048) -> float:
    """Return the GFLOP/s of a matrix product."""
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    a @ b
    return 2 * size**3 / min(timed(lambda: torch.mm(a, b), device) for _ in range(3)) / 1e9


def main() -> None:
    """Profile each mode's step and print shares."""
    parser = options(argparse.ArgumentParser())
    parser.set_defaults(methods="pgd-at+rpat", modes="reference,exact,fast")
    a = parser.parse_args()
    if a.threads:
        torch.set_num_threads(a.threads)
    device = torch.device(a.device)
    print(machine(device))
    activities = [ProfilerActivity.CPU]
    activities += [ProfilerActivity.CUDA] if device.type == "cuda" else []
    for name in a.methods.split(","):
        config = configured(name, a.model, {"optim.lr": 0.01, "attack.steps": a.steps})
        work = FORWARD[a.model] * (PASSES[name] - 2 * (10 - a.steps)) * a.batch_size
        for dtype in (torch.float32, torch.bfloat16):
            speed = rate(dtype, device)
            print(f"floor {name}, {dtype}: {work:.0f} GFLOP at {speed:.0f} GFLOP/s "
                  f"= {work / speed:.2f} s")  # fmt: skip
        data = batches(a.data, 2, a.batch_size, 32, device)
        for mode in a.modes.split(","):
            candidate = Candidate(config, mode, device, 32)
            candidate.step(*data[0])
            synchronize(device)
            with profile(activities=activities) as seen:
                taken = timed(lambda c=candidate, d=data: c.step(*d[1]), device)
            times: Counter[str] = Counter()
            for event in seen.key_averages():
                own = event.self_device_time_total if device.type == "cuda" else 0
                times[kind_of(event.key)] += own or event.self_cpu_time_total
            whole = sum(times.values())
            shares = ", ".join(f"{kind} {t / whole:.0%}" for kind, t in times.most_common())
            print(f"{name}, {mode}: {taken:.2f} s: {shares}")


if __name__ == "__main__":
    main()
