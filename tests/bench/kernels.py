#!/usr/bin/env python3
"""make bench-kernels: our kernels and the peers on the same layers, in one run, with 1 and 2 threads.

    tests/bench/kernels.py BENCH_KERNELS [--filter TEXT] [--no-peers] [--isa NAME] [--threads 1,2]

BENCH_KERNELS is the C program. A row's time is one run of the layer in microseconds: minimum and
median of samples that alternate between the contenders. Prints a table, then each goal beside what was
reached, and writes build/bench/kernels.json and kernels.svg: kernels-part with a filter, nothing
without peers.
"""
import argparse
import pathlib
import subprocess
import sys

import report

FOLDER = pathlib.Path("build/bench")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("bench")
    parser.add_argument("--filter", default="")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--isa", default="auto")
    parser.add_argument("--threads", default="1,2")
    options = parser.parse_args()
    command = [options.bench, "--isa", options.isa, "--filter", options.filter]
    if not options.no_peers:
        models = FOLDER / "layers"
        writer = pathlib.Path(__file__).parent / "layer_models.py"
        subprocess.run([sys.executable, writer, models], check=True)
        command += ["--models", str(models), "--onnxruntime", report.onnxruntime_library()]
    rows = []
    report.print_head()
    for threads in options.threads.split(","):
        rows += report.run([*command, "--threads", threads])
    if not options.no_peers:
        report.finish(FOLDER, "kernels-part" if options.filter else "kernels", rows, "Layers")


if __name__ == "__main__":
    try:
        main()
    except report.BenchFailed as problem:
        sys.exit(f"kernels.py: {problem}")
