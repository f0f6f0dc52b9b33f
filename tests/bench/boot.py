"""What a boot, and each daemon-reload, pays for svc: the generator with 0 to 100 apps.

Measured inside the machine, on the generator that `make install` put there, as whole processes. A bare
Python that does nothing is the floor.
"""

import json

from tests.bench import installed
from tests.bench.bench import Bench
from tests.bench.results import Column, Goal, Outcome, Samples
from tests.machine import Machine

TITLE = "The generator, at boot and at each daemon-reload"
GENERATOR = "/usr/lib/systemd/system-generators/svc-generator"
FLOOR = "bare python3 -I"
CASES = {
    "no app": (0, 1),
    "1 app": (1, 1),
    "10 apps": (10, 1),
    "100 apps": (100, 1),
    "1 app of 1024 workers": (1, 1024),
}
"""How many apps, of how many workers each."""
REPEATS = 5  # in each run, of which the median counts

APP = 'app = "hello:asgi"\nlisten = ["127.0.0.1:{port}"]\nworkers = {workers}\n'

# Times a command, in seconds, as JSON: started from inside, because to enter the machine costs more.
TIMER = """
import json, shutil, subprocess, sys, tempfile, time
times = []
for _ in range(int(sys.argv[1])):
    folders = [tempfile.mkdtemp() for _ in range(3)]
    begin = time.perf_counter()
    subprocess.run(sys.argv[2:] + (folders if "generator" in sys.argv[2] else []), check=True)
    times.append(time.perf_counter() - begin)
    for folder in folders:
        shutil.rmtree(folder)
print(json.dumps(sorted(times)[len(times) // 2]))
"""

COLUMNS = (Column("ms", "ms", 1), Column("over", "over bare Python, ms", 1))


def run(bench: Bench) -> Outcome:
    """Measure all."""
    samples = Samples()
    machine = bench.stack.enter_context(installed.booted())
    for number, name in bench.rounds([FLOOR, *CASES]):
        if name == FLOOR:
            milliseconds = _time(machine, "/usr/bin/python3", "-I", "-c", "pass")
        else:
            _configure(machine, *CASES[name])
            milliseconds = _time(machine, GENERATOR)
            machine.reset()
        samples.add(name, "ms", milliseconds)
        if name != FLOOR:
            samples.add(name, "over", milliseconds - samples.figure(FLOOR, "ms").values[-1])
        bench.say(number, f"{name:<30} {milliseconds:.1f} ms")
    goals = (
        Goal("no app: over bare Python", samples.figure("no app", "over"), "≤", 10, 1, " ms"),
        Goal("1 app", samples.figure("1 app", "ms"), "≤", 100, 1, " ms"),
        Goal("100 apps", samples.figure("100 apps", "ms"), "≤", 500, 1, " ms"),
    )
    note = f"Whole processes; in each run the median of {REPEATS}."
    return Outcome((samples.table(TITLE, COLUMNS, note),), goals)


def _time(machine: Machine, *argv: str) -> float:
    said = machine.run("python3", "-I", "-c", TIMER, str(REPEATS), *argv).stdout
    return 1000 * float(json.loads(said))


def _configure(machine: Machine, apps: int, workers: int) -> None:
    """Write so many app files, and none besides."""
    script = "rm -f /usr/lib/svc/apps/*.toml; mkdir -p /etc/svc; cd /etc/svc; cat >all; "
    script += "csplit -sz -f bench -b '%03d.toml' all '/^app/' '{*}'; rm all"
    if not apps:
        script = "rm -f /usr/lib/svc/apps/*.toml"
    text = "".join(APP.format(port=20000 + number, workers=workers) for number in range(apps))
    machine.run("sh", "-c", script, input=text)
