"""What a network costs on a device: slices in its memory to labels in its memory.

    python benchmarks/network.py cpu     # against eager torchvision, 512 x 512
    python benchmarks/network.py gpu     # all sizes and precisions, against the rate of matmul

Needs torch, torchvision and numpy only, so that it runs where the rest cannot be installed. Prints
Markdown and writes JSON into benchmarks/results. Contestants take turns, the best round counts.
"""

import argparse
import json
import platform
import re
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from xctvol.model.decode import Largest, decoded
from xctvol.model.devices import arithmetic
from xctvol.model.fastest import fastest
from xctvol.model.networks import build, outline

MATERIALS = 6
SIZES = {"cpu": "512x512", "gpu": "1280x1280,2176x2176,2560x2560,2464x1352"}
PRECISIONS = {"cpu": "fp32,bf16", "gpu": "fp32,tf32,bf16,fp16"}
WAYS = {"cpu": "eager,segment", "gpu": "eager,contiguous,segment,weights,tuned,graph"}
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Case:
    """One way to label slices of one size.

    `eager` is torchvision's network as its users call it; `segment` is what xctvol does. The others
    change one thing each: `contiguous` has no channels_last; `weights` has all of them in the
    precision, not those of convolutions only, so that it needs no autocast; then `tuned` lets cuDNN
    try its kernels, `graph` replays them as a CUDA graph, and `compiled` is by torch.compile.
    """

    way: str
    precision: str
    size: tuple[int, int]

    @property
    def stored(self) -> bool:
        """Whether all weights are in the precision."""
        return self.precision in DTYPES and self.way in ("weights", "tuned", "graph")

    @property
    def tuned(self) -> bool:
        """Whether cuDNN tries its kernels when it meets a shape."""
        return self.way in ("tuned", "graph")


@dataclass(frozen=True)
class Row:
    """What was measured; `share` is that of the matmul rate in this precision."""

    way: str
    precision: str
    size: tuple[int, int]
    ms: float
    share: float
    peak_bytes: int
    equal_labels: float


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("section", choices=SIZES)
    parser.add_argument("--sizes", help="y x x of the slices, several with commas")
    parser.add_argument("--precisions")
    parser.add_argument("--ways", help=f"of {WAYS['gpu']},compiled; see Case")
    parser.add_argument("--architecture", default="fcn_resnet101")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="on a CPU")
    parser.add_argument("--side", type=int, default=0, help="of the matrices of the matmul rate")
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    section = arguments.section
    device = torch.device("cuda" if section == "gpu" else "cpu")
    if section == "gpu" and not torch.cuda.is_available():
        raise SystemExit("no CUDA device here")
    torch.set_num_threads(arguments.threads)
    sizes = [
        tuple(map(int, size.split("x"))) for size in (arguments.sizes or SIZES[section]).split(",")
    ]
    precisions = (arguments.precisions or PRECISIONS[section]).split(",")
    ways = (arguments.ways or WAYS[section]).split(",")
    machine = describe(device)
    side = arguments.side or (8192 if section == "gpu" else 2048)
    rates = {precision: matmul_rate(precision, device, side) for precision in precisions}
    print(f"{machine['device']}, torch {machine['torch']}; matmul "
          f"{', '.join(f'{rate / 1e12:.3g} TFLOP/s in {p}' for p, rate in rates.items())}\n\n"
          f"| {arguments.architecture} | precision | way | ms a slice | share of the matmul rate "
          "| times eager fp32 | labels as eager fp32 | memory |\n" + 8 * "|---" + "|")  # fmt: skip
    rows = []
    for size in sizes:
        cases = [Case(way, p, size) for p in precisions for way in ways if possible(way, p)]
        rows += measure(cases, arguments.architecture, device, arguments.rounds, rates)
    arguments.results.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"\W+", "-", f"network-{section}-{machine['device']}").strip("-").lower()
    found = {"machine": machine, "architecture": arguments.architecture, "matmul": rates}
    text = json.dumps(found | {"rows": [asdict(row) for row in rows]}, indent=1)
    (arguments.results / f"{name}.json").write_text(text + "\n")


def possible(way, precision):
    """Eager is the reference, so it is in fp32 only; weights in fp32 are what segment does."""
    if way == "eager":
        return precision == "fp32"
    return way != "weights" or precision in DTYPES


def measure(cases, architecture, device, rounds, rates):
    """A row for each case, all of one size, the first the reference; those that fail are said."""
    size, flop = cases[0].size, flop_of(architecture, cases[0].size)
    generator = torch.Generator().manual_seed(0)
    slices = torch.randint(0, 256, (1, 1, *size), generator=generator, dtype=torch.uint8)
    slices = slices.to(device)
    begun, times = {}, {}
    for case in cases:
        try:
            begun[case] = begin(case, architecture, slices)
        except (RuntimeError, ImportError) as error:
            print(f"{case}: {type(error).__name__}: {str(error)[:200]}", flush=True)
    with torch.inference_mode():
        for case in [case for _ in range(rounds) for case in begun]:
            torch.backends.cudnn.benchmark = case.tuned
            ms = milliseconds(lambda work=begun[case][0]: work(slices), device)
            times[case] = min(ms, times.get(case, ms))
    reference = next(iter(begun))
    rows = []
    for case, (_, labels, peak_bytes) in begun.items():
        share = flop / (times[case] / 1000) / rates[case.precision]
        equal = float((labels == begun[reference][1]).mean())
        rows.append(Row(case.way, case.precision, size, times[case], share, peak_bytes, equal))
        print(f"| {size[0]} x {size[1]} | {case.precision} | {case.way} | {times[case]:.4g} "
              f"| {share:.2f} | {times[reference] / times[case]:.2f} | {100 * equal:.3f} % "
              f"| {peak_bytes / 1e9:.2f} GB |", flush=True)  # fmt: skip
    return rows


def begin(case, architecture, slices):
    """What labels `slices`, their labels, and the memory of a GPU that it took the first time."""
    device, before = slices.device, 0
    if device.type == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
    torch.backends.cudnn.benchmark = case.tuned
    with torch.inference_mode():
        work = labeler(case, architecture, device)
        if case.way == "graph":
            work = replayed(work, slices)
        labels = work(slices).cpu().numpy().copy()
    peak_bytes = torch.cuda.max_memory_allocated() - before if device.type == "cuda" else 0
    return work, labels, peak_bytes


def labeler(case, architecture, device) -> Callable[[torch.Tensor], torch.Tensor]:
    """Stored slices (1, 1, y, x) -> labels (1, y, x), as the case says."""
    torch.manual_seed(0)
    network = build(architecture, MATERIALS)
    rule = Largest(tuple(range(MATERIALS)))
    network.body.eval()
    if case.way != "eager":
        network = fastest(network, device, case.precision)
    if case.way == "contiguous":
        network.body.to(memory_format=torch.contiguous_format)
    dtype = DTYPES[case.precision] if case.stored else torch.float32
    network.body.to(device, dtype if case.stored else None)

    def eager(slices):
        x = slices.to(torch.float32).div_(255).sub_(0.4).div_(0.2)
        return network.logits(x).argmax(1).to(torch.uint8)

    def ours(slices):
        x = slices.to(torch.float32).div_(255).sub_(0.4).div_(0.2).to(dtype)
        with nullcontext() if case.stored else arithmetic(case.precision, device):
            coarse = coarse_logits(x).float()
        return decoded([coarse], case.size, rule)

    coarse_logits = network.coarse_logits
    if case.way == "compiled":
        coarse_logits = torch.compile(coarse_logits, dynamic=False)
    return eager if case.way == "eager" else ours


def replayed(work, slices):
    """`work` on `slices` as one CUDA graph, captured after a few rounds beside the main stream."""
    beside = torch.cuda.Stream()
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        for _ in range(3):
            work(slices)
    torch.cuda.current_stream().wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        labels = work(slices)

    def replay(_):
        graph.replay()
        return labels

    return replay


def milliseconds(work, device):
    """By events on a GPU, which leave out what the host does; on a CPU processor time, which leaves
    out what else runs on the machine."""
    if device.type == "cpu":
        start = time.process_time()
        work()
        return 1000 * (time.process_time() - start)
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    work()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end)


def matmul_rate(precision, device, side):
    """FLOP/s of the best of a few products of square matrices."""
    a = torch.randn(side, side, device=device, dtype=DTYPES.get(precision, torch.float32))
    with nullcontext() if precision in DTYPES else arithmetic(precision, device):
        best = min(milliseconds(lambda: a @ a, device) for _ in range(5))
    return 2 * side**3 / (best / 1000)


def flop_of(architecture, size):
    """Operations of one slice, counted without doing any; two for a multiplication and addition."""
    network = outline(architecture, MATERIALS)
    network.body.eval()
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        network.coarse_logits(torch.empty((1, 1, *size), device="meta"))
    return counter.get_total_flops()


def describe(device):
    name = torch.cuda.get_device_name() if device.type == "cuda" else cpu_name()
    capabilities = torch.cuda.get_device_capability() if device.type == "cuda" else None
    return {
        "device": name,
        "capability": capabilities or torch.backends.cpu.get_cpu_capability(),
        "cudnn": torch.backends.cudnn.version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "day": time.strftime("%Y-%m-%d"),
    }


def cpu_name():
    found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return found[1] if found else platform.processor()


if __name__ == "__main__":
    main()
