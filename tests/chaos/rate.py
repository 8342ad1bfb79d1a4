"""Throughput with a worker killed every 10 s beside the undisturbed one, by turns. See README.md."""
import itertools
import time

from chaos import fleet
from faults import kill
from heavy import heavy_model, heavy_rows
from world import WORKERS, publish

TURN_S = 30.0   # undisturbed and disturbed by turns of so long
KILL_S = 10.0
ROW_MS = 3.0
TIMES = 100     # a job has 100,000 rows
GOAL = 0.80


def turn(play, kills, seconds):
    """Rows per second over so long; the workers in `kills` die one after the other."""
    world, jobs = play.world, play.jobs
    for i in range(int(seconds // KILL_S) if kills else 0):
        world.later(i * KILL_S, lambda: play.kill("worker_killed", next(kills), kill))
    begin_s, rows = time.monotonic(), jobs.completed
    world.run_until(begin_s + seconds)
    rate = (jobs.completed - rows) / (time.monotonic() - begin_s)
    publish(f"{world.seconds():.0f} s {'killed' if kills else 'undisturbed'} {rate:.0f} rows/s")
    return rate


def run(options):
    seconds = min(TURN_S, options.duration)
    publish(f"seed {options.seed}, {options.duration:.0f} s of each, turns of {seconds:.0f} s")
    with fleet(options, models=()) as play:
        source = heavy_rows(play.world, heavy_model(play.world, ROW_MS), options.seed)
        play.begin(source, TIMES)
        play.jobs.kinds = ("npy",)
        play.go()
        play.world.run_until(time.monotonic() + 5)  # until every worker has the model
        victims, rates = itertools.cycle(WORKERS), {"undisturbed": [], "killed": []}
        for _ in range(max(1, round(options.duration / seconds))):
            rates["undisturbed"].append(turn(play, None, seconds))
            rates["killed"].append(turn(play, victims, seconds))
        ratio = sum(rates["killed"]) / sum(rates["undisturbed"])
        play.jobs.abandon()
        play.calm()
        means = " ".join(f"{name} {sum(list_) / len(list_):.0f} rows/s"
                         for name, list_ in rates.items())
        play.last, play.good = play.verdict(f"{means} ratio {ratio:.3f} goal {GOAL} ")
        play.good = play.good and ratio >= GOAL
    return 0 if play.good else 1


