"""How evenly sessions are spread over the workers: so many connections that stay, on 2 and on 8
workers, opened at once and after a reload that changed the number of workers. Prints a table, and
fails when from 200 connections on the busiest worker has more than 1.25 x the mean.
`make drill`; ROUNDS=N for another number of rounds."""
import os
import pathlib
import resource
import socket
import statistics
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "cases"))
from support import Alacrity, eventually, free_port, stop_all  # noqa: E402
from test_spread import Hold, spread  # noqa: E402

ROUNDS = int(os.environ.get("ROUNDS", "5"))
COUNTS, WORKERS, MOST = (16, 200, 5000), (2, 8), 1.25
DESCRIPTORS = 2 * COUNTS[-1] + 500


def measure(balancer, port, count, workers):
    clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]
    eventually(lambda: sum(spread(balancer, workers)) == count, f"{count} sessions", 60)
    shares = spread(balancer, workers)
    time.sleep(0.25)  # they stay: what comes and goes in no time is left to chance
    for client in clients:
        client.close()
    eventually(lambda: sum(spread(balancer, workers)) == 0, "all have ended", 60)
    return max(shares) * workers / count


def main():
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
    hold, port, missed = Hold(), free_port(), False
    config = {"listeners": {"web": {"bind": f"127.0.0.1:{port}", "pool": "app"}},
              "pools": {"app": {"backends": {"a": hold.text}}}}
    print("busiest worker's sessions / mean, median (worst) of", ROUNDS)
    print(f"{'connections':>12}  {'workers':>8}  {'from the start':>18}  {'after a reload':>18}")
    for workers in WORKERS:
        ratios = {(count, when): [] for count in COUNTS for when in ("start", "reload")}
        for _ in range(ROUNDS):
            with Alacrity({**config, "workers": workers}, descriptors=DESCRIPTORS) as balancer:
                for count in COUNTS:
                    ratios[count, "start"].append(measure(balancer, port, count, workers))
                for others in (3, workers):
                    balancer.reload({**config, "workers": others})
                for count in COUNTS:
                    ratios[count, "reload"].append(measure(balancer, port, count, workers))
        for count in COUNTS:
            cells = []
            for when in ("start", "reload"):
                all_of_them = ratios[count, when]
                cells.append(f"{statistics.median(all_of_them):.2f} ({max(all_of_them):.2f})")
                missed = missed or (count >= 200 and max(all_of_them) > MOST)
            print(f"{count:>12}  {workers:>8}  {cells[0]:>18}  {cells[1]:>18}", flush=True)
    stop_all()
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
