"""`make chaos`: faults at random on a deployment under load, and then the promises. Exit code 1 where one is broken.

``python -m tests.chaos.harness.run --deployment embedded --seconds 60 --seed 1``. The same seed draws the same jobs
and the same faults in the same order; when each of them meets the other is the machine's.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil

from tests.chaos.harness.deployment import DEPLOYMENTS, Deployment, deployed
from tests.chaos.harness.faults import Fault, faults_of
from tests.chaos.harness.invariants import NAMES, Check, Findings
from tests.chaos.harness.load import Load, Offers
from tests.chaos.harness.old_database import make_old
from tests.chaos.harness.receiver import Receiver
from tests.chaos.harness.scene import Broken, Scene, Skipped
from tests.chaos.harness.services import wait_until
from tests.chaos.harness.traffic import Traffic, Windows

#: Between the beginnings of two faults.
GAP_SECONDS = (1.5, 3.0)
CLIENTS = {"embedded": 4, "production": 8}
#: For what was restarted last to come up.
CALM_SECONDS = 120.0
STARTS_KILLED = 3
MOST_TOLD = 12


@dataclass
class Storm:
    """Applies faults until told to stop; those that lay hands on the same wait for each other."""

    scene: Scene
    rng: random.Random
    counts: Counter[str] = field(default_factory=Counter)
    skipped: dict[str, str] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    broken: list[Broken] = field(default_factory=list)
    _held: set[str] = field(default_factory=set)
    _change: threading.Condition = field(default_factory=threading.Condition)
    _threads: list[threading.Thread] = field(default_factory=list)

    def rage(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        table = faults_of(self.scene.deployment)
        while time.monotonic() < until:
            fault, hold, gap, own = drawn(table, self.rng)
            with self._change:
                if not self._change.wait_for(lambda: not self._held & fault.touches, 60):  # noqa: B023 - asked at once
                    self.failed.append(f"{fault.name}: what it touches stays held")
                    continue
                self._held |= fault.touches
            thread = threading.Thread(target=self._apply, args=(fault, hold, own), daemon=True)
            thread.start()
            self._threads.append(thread)
            time.sleep(gap)
        for thread in self._threads:
            thread.join(120)

    def _apply(self, fault: Fault, hold: float, rng: random.Random) -> None:
        scene = replace(self.scene, rng=rng)
        _say(f"fault: {fault.name}" + (f", for {hold:.1f} s" if hold else ""))
        try:
            with scene.windows.during(fault.touches), fault.act(scene):
                self.counts[fault.name] += 1
                time.sleep(hold)
        except Skipped as why:
            self.skipped[fault.name] = str(why)
        except Broken as seen:
            self.broken.append(seen)
        except Exception as error:  # noqa: BLE001 - a fault that cannot be done is told, and is no fault of the service
            self.failed.append(f"{fault.name}: {type(error).__name__}: {error}")
        finally:
            with self._change:
                self._held -= fault.touches
                self._change.notify_all()


def drawn(table: Sequence[Fault], rng: random.Random) -> tuple[Fault, float, float, random.Random]:
    """The next fault, for how many seconds, how many pass before the one after it, and its own dice."""
    fault = rng.choices(table, [fault.weight for fault in table])[0]
    return fault, rng.uniform(*fault.hold), rng.uniform(*GAP_SECONDS), random.Random(rng.random())


def main() -> int:
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument("--deployment", choices=DEPLOYMENTS, required=True)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--logs", type=Path, default=Path("build/chaos"))
    given = parser.parse_args()
    logs = given.logs / f"{given.seed}-{given.deployment}"
    with deployed(given.deployment, keep=logs, started=False) as deployment:
        kills = start_on_old_database(deployment, random.Random(given.seed))
        figures = run(deployment, given.seconds, given.seed)
    figures |= {"killed_at_start": kills, "logs": str(logs)}
    print(json.dumps(figures), flush=True)
    return 1 if figures["broken"] else 0


def start_on_old_database(deployment: Deployment, rng: random.Random) -> int:
    """Have all programs killed while they bring an old database up to date; how often that was."""
    deployment.start_servers()
    make_old(deployment.database_url)
    for service in deployment.programs:
        service.start()
    for _ in range(STARTS_KILLED):
        time.sleep(rng.uniform(0.3, 2.5))
        for process in [process for service in deployment.programs for process in service.everyone]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
    deployment.start()
    return STARTS_KILLED


def run(deployment: Deployment, seconds: float, seed: int) -> dict[str, Any]:
    windows, receiver = Windows(), Receiver()
    traffic = Traffic(deployment.urls, windows)
    document = traffic.ask("GET", "/openapi.json")
    assert document is not None
    offers = Offers.of(document.json())
    load = Load(
        traffic, offers, deployment.inputs, seed, clients=CLIENTS[deployment.name], receiver=receiver.url
    )  # fmt: skip
    storm = Storm(Scene(deployment, load, receiver, windows), random.Random(seed))
    _say(f"{deployment.name}, seed {seed}, {seconds:.0f} s; offered: {offers}")
    load.start()
    storm.rage(seconds)
    _say("no more faults")
    wait_until(deployment.ready, CALM_SECONDS)
    load.stop()
    check = Check(deployment, load, traffic, receiver)
    _say("all is looked at")
    check.seen()
    for seen in storm.broken:
        check.findings.add(seen.name, seen.what)
    deployment.stop()
    findings = check.left()
    receiver.close()
    traffic.close()
    _print(storm, load, traffic, findings)
    told = {"deployment": deployment.name, "seconds": seconds, "seed": seed}
    return told | _figures(storm, load, findings)


def _print(storm: Storm, load: Load, traffic: Traffic, findings: Findings) -> None:
    print("\nfaults")
    for name, count in sorted(storm.counts.items()):
        print(f"  {count:4d}  {name}")
    for name, why in sorted(storm.skipped.items()):
        print(f"     -  {name}: skipped, {why}")
    for what in storm.failed:
        print(f"     !  {what}")
    print("jobs")
    for outcome, count in sorted(load.outcomes.items()):
        print(f"  {count:4d}  {outcome}")
    print("answers")
    for status, count in sorted(traffic.answers.items()):
        print(f"  {count:6d}  {status}")
    print(f"  slowest {traffic.slowest:.1f} s")
    print("promises")
    for name, promise in NAMES.items():
        found = findings.wrong[name]
        print(f"  {len(found):4d}  broken: {promise}")
        for what in found[:MOST_TOLD]:
            print(f"          {what}")


def _figures(storm: Storm, load: Load, findings: Findings) -> dict[str, Any]:
    return {
        "faults": storm.counts.total(),
        "kinds": len(storm.counts),
        "jobs": len(load.sent),
        "outcomes": dict(load.outcomes),
        "looked": dict(findings.looked),
        "broken": findings.broken | ({"harness": len(storm.failed)} if storm.failed else {}),
    }


_BEGAN = time.monotonic()


def _say(what: str) -> None:
    print(f"[{time.monotonic() - _BEGAN:6.1f} s] {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
