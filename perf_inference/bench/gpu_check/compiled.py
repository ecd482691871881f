"""torch.compile: it compiles here, with and without a graph, and how much it gains."""

from __future__ import annotations

import time

from perf_inference.bench.gpu_check.found import off_by, reference, spread, times_ns, torch_gpu
from perf_inference.bench.gpu_check.section import Outcome, Table
from perf_inference.bench.gpu_check.torch_engines import ALLOWED
from perf_inference.engines import Options, load


def detector() -> Outcome:
    """Compile the detector in fp32 and fp16."""
    torch_gpu()
    pairs, rows, wrong = reference("detector", "torch"), [], []
    for precision in ("fp16", "fp32"):
        for compiled in (False, True):
            began_s = time.monotonic()
            engine = load("detector", "torch", Options(device="cuda:0", precision=precision, compile=compiled))
            load_s = time.monotonic() - began_s
            off = off_by(engine, pairs)
            taken = times_ns(lambda engine=engine: engine.infer(pairs[0][0]), 50, 0.7)  # type: ignore[misc]
            note = engine.info.metadata.get("cuda_graph", "-")
            engine.close()
            rows.append((precision, "compiled" if compiled else "eager", note, f"{load_s:.1f}", *spread(taken),
                         f"{off:.1e}"))  # fmt: skip
            if off > ALLOWED[precision]:
                wrong.append(f"{precision} compiled={compiled} is off by {off:.1e}")
    return Outcome("; ".join(wrong) or f"{rows[1][4]} ms compiled in fp16, {rows[0][4]} eager; both with graphs",
                   not wrong, table=Table(("precision", "", "graph", "load [s]", "p50 [ms]", "p99", "max", "times",
                                           "off by"), rows))  # fmt: skip


CHECKS = (detector,)
