"""What kernels.py and models.py share: run a bench, print its tables, write its JSON and its plot."""
import importlib.util
import json
import math
import pathlib
import subprocess

import bench_list

PEERS = ("onednn", "onednn_winograd", "onnxruntime", "openblas")


class BenchFailed(Exception):
    pass


def onnxruntime_library():
    """Path of the C library inside the installed Python package."""
    package = pathlib.Path(importlib.util.find_spec("onnxruntime").origin).parent
    return str(next(package.glob("capi/libonnxruntime.so*")))


# --- the table, line by line ---------------------------------------------------------------------

def us(value):
    return f"{value:.2f}" if value < 100 else f"{value:.0f}"


def pair(measured):
    return f"{us(measured['us_min'])}/{us(measured['us_median'])}"


def print_head():
    print(f"{'work':<26}{'batch':>5} {'T':>1} {'ours us min/median':>20}{'GFLOP/s':>9} {'peak':>5}"
          "   peer us min/median, times faster by minimum")


def print_row(row):
    ours, rate, share = row["contenders"]["ours"], "", ""
    if row["flops"]:
        gflops = row["flops"] / ours["us_min"] * 1e-3
        rate = f"{gflops:.0f}"
        share = f"{100 * gflops / row['peak_gflops']:.0f} %" if row["peak_gflops"] else ""
    peers = "".join(f"   {name} {pair(row['contenders'][name]):>15}"
                    f" x{row['contenders'][name]['us_min'] / ours['us_min']:.2f}"
                    for name in PEERS if name in row["contenders"])
    print(f"{row['work']:<26}{row['batch']:>5} {row['threads']:>1} {pair(ours):>20}{rate:>9} {share:>5}"
          + peers, flush=True)


def run(command):
    """The rows that a bench program prints, shown as they come."""
    rows = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as bench:
        for line in bench.stdout:
            rows.append(json.loads(line))
            print_row(rows[-1])
    if bench.returncode:
        raise BenchFailed(f"{command[0]}: exit status {bench.returncode}")
    return rows


# --- goals ---------------------------------------------------------------------------------------

def peer_us(row, peer, field):
    """The peer's time, or of "best" the fastest one's; None where it was not there."""
    times = [measured[field] for name, measured in row["contenders"].items()
             if name != "ours" and peer in ("best", name)]
    return min(times, default=None)


def reached(rows, peer, field):
    """Geometric mean of peer / ours."""
    logs = [math.log(peer_us(row, peer, field) / row["contenders"]["ours"][field])
            for row in rows if peer_us(row, peer, field) is not None]
    return math.exp(sum(logs) / len(logs)) if logs else None


def print_goals(rows):
    """One line for each goal and thread count that has rows."""
    print(f"\n{'goal':<20}{'peer':<13}{'T':>1} {'works':>6} {'goal':>6} {'by minimum':>11}"
          f" {'by median':>10}")
    for name, goal in bench_list.goals().items():
        for threads in (1, 2):
            some = [row for row in rows
                    if row["goal_id"] == goal["layers"] and row["threads"] == threads]
            best, usual = (reached(some, goal["peer"], field) for field in ("us_min", "us_median"))
            if best is None:
                continue
            print(f"{name:<20}{goal['peer']:<13}{threads:>1} {len(some):>6} {goal[threads]:>6}"
                  f" {best:>11.2f} {usual:>10.2f}  {'reached' if best >= goal[threads] else 'missed'}")


# --- files ---------------------------------------------------------------------------------------

def json_row(row, goals):
    goal = goals.get(row["goal_id"])
    ours = row["contenders"]["ours"]
    return {"goal_id": row["goal_id"] if goal else None, "work": row["work"], "batch": row["batch"],
            "threads": row["threads"], "us_min": ours["us_min"], "us_median": ours["us_median"],
            "goal": goal.get(row["threads"]) if goal else None,
            "peers": {name: row["contenders"][name] for name in PEERS if name in row["contenders"]}}


def write_json(path, rows):
    goals = bench_list.goals()
    text = ",\n".join(json.dumps(json_row(row, goals)) for row in rows)
    path.write_text(f"[\n{text}\n]\n")


def plot_series(rows):
    """(title, style, points) of each peer that is there, and of the goals."""
    for number, peer in enumerate(PEERS, 1):
        points = [(i, peer_us(row, peer, "us_min") / row["contenders"]["ours"]["us_min"])
                  for i, row in enumerate(rows) if peer in row["contenders"]]
        yield peer, f"with points pt 7 ps 0.7 lc {number}", points
    goals = bench_list.goals()
    yield "goal", "with points pt 2 ps 0.6 lc rgb 'black'", [
        (i, goals[row["goal_id"]][row["threads"]])
        for i, row in enumerate(rows) if row["goal_id"] in goals]


def plot_panel(rows, title):
    """gnuplot's commands for one panel: ratio by work, a mark for each peer."""
    tics = ", ".join(f'"{row["work"]} b{row["batch"]}" {i}' for i, row in enumerate(rows))
    out, parts = [], ["1 with lines lc rgb 'gray40' notitle"]
    for name, style, points in plot_series(rows):
        if points:
            data = f"${name}_{rows[0]['threads']}"
            out += [f"{data} << EOD", *(f"{i} {ratio:.4f}" for i, ratio in points), "EOD"]
            parts.append(f'{data} using 1:2 {style} title "{name}"')
    return out + [f'set title "{title}"', f"set xrange [-1:{len(rows)}]",
                  f"set xtics rotate by 90 right noenhanced ({tics})", "plot " + ", ".join(parts)]


def write_plot(path, rows, what):
    """An SVG: how many times faster than each peer, by work, one panel for each thread count."""
    panels = [[row for row in rows if row["threads"] == threads] for threads in (1, 2)]
    panels = [panel for panel in panels if panel and len(panel[0]["contenders"]) > 1]
    if not panels:
        return
    width = max(700, 200 + 12 * max(map(len, panels)))
    script = [f"set terminal svg size {width},{520 * len(panels)} dynamic font 'sans,11'",
              f"set output '{path}'", "set logscale y 2", "set ylabel 'peer / ours, minimum'",
              "set key outside top right horizontal noenhanced", "set bmargin 14",
              "set grid xtics ytics lt 1 lc rgb 'gray90'",
              f"set multiplot layout {len(panels)},1"]
    for panel in panels:
        count = panel[0]["threads"]
        script += plot_panel(panel, f"{what}: times faster than the peer, {count} thread"
                             + ("s" if count > 1 else ""))
    subprocess.run(["gnuplot"], input="\n".join(script) + "\nunset multiplot\n", text=True, check=True)


def finish(folder, name, rows, what):
    """Goals, JSON and plot of all rows."""
    print_goals(rows)
    write_json(folder / f"{name}.json", rows)
    write_plot(folder / f"{name}.svg", rows, what)
    print(f"\n{folder / name}.json, .svg: {len(rows)} rows")
