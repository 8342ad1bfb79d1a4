#!/usr/bin/python3
"""What the broker costs: nanoseconds a dispatch in its core, tasks per second through it and through a
bare zmq_proxy, measured in turns so that both see the same machine.

    tests/bench/broker.py FOLDER_OF_BENCHES BROKER [--rounds N] [--seconds S]
"""
import argparse
import pathlib
import re
import statistics
import subprocess

WINDOW = 64
WORKERS = (10, 1000, 10000)
TASKS = 50000      # the same work for each number of workers
PATIENCE_S = 60    # of one program


def number(pattern, *command):
    said = subprocess.run([str(part) for part in command], capture_output=True, text=True,
                          check=True, timeout=PATIENCE_S).stdout
    found = re.search(pattern, said)
    if not found:
        raise SystemExit(f"{command}: no {pattern} in {said!r}")
    return float(found.group(1))


def spread(name, values, unit):
    print(f"{name}: median {statistics.median(values):.0f} min {min(values):.0f} "
          f"max {max(values):.0f} {unit}", flush=True)
    return statistics.median(values)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("broker", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2)
    args = parser.parse_args()
    dispatch = {workers: [] for workers in WORKERS}
    ours, proxy = [], []
    for _ in range(args.rounds):
        for workers in WORKERS:
            dispatch[workers].append(number(
                r"dispatch workers \d+ ns (\d+)", args.folder / "bench_core", workers, TASKS))
        proxy.append(number(r"tasks_per_s (\d+)", args.folder / "bench_proxy", args.seconds, WINDOW))
        ours.append(number(r"tasks_per_s (\d+)", args.folder / "bench_fabric", args.broker,
                           args.seconds, WINDOW))
    cost = [spread(f"dispatch with {workers} workers", dispatch[workers], "ns a task")
            for workers in WORKERS]
    rate = spread(f"broker, window {WINDOW}", ours, "tasks/s")
    bare = spread(f"zmq_proxy, window {WINDOW}", proxy, "tasks/s")
    ratio = statistics.median(a / b for a, b in zip(ours, proxy))
    print(f"broker tasks_s {rate:.0f} proxy_tasks_s {bare:.0f} ratio {ratio:.2f} "
          f"dispatch_ns_10 {cost[0]:.0f} dispatch_ns_1000 {cost[1]:.0f} "
          f"dispatch_ns_10000 {cost[2]:.0f}")


if __name__ == "__main__":
    main()
