"""What a run of the benchmark is shown as: text, Markdown, JSON and a chart."""
import json
import pathlib
import statistics

from proxies import LABELS

COLOURS = {"alacrity": "#2f6fab", "haproxy": "#8a8a8a", "haproxy-lua": "#b5b5b5",
           "haproxy-splice": "#b5b5b5", "nginx": "#d9b36c"}
# key: what it is, unit, decimals, whether a ratio to HAProxy says something
MEASURES = {
    "short.cpu": ("short connection, CPU of the proxy", "µs", 1, True),
    "short.involved": ("short connection, CPU of all involved", "µs", 1, False),
    "short.added": ("short connection, CPU the proxy adds", "µs", 1, True),
    "short.machine": ("short connection, CPU of the machine", "µs", 1, False),
    "short.rate": ("short connections a second", "", 0, False),
    "calls": ("short connection, system calls", "", 1, True),
    "instructions": ("short connection, instructions in user space", "", 0, True),
    "pingpong.cpu": ("round trip, CPU of the proxy", "µs", 2, True),
    "pingpong.involved": ("round trip, CPU of all involved", "µs", 2, False),
    "pingpong.added": ("round trip, CPU the proxy adds", "µs", 2, True),
    "pingpong.machine": ("round trip, CPU of the machine", "µs", 2, False),
    "down.cpu": ("GiB down, CPU of the proxy", "ms", 0, True),
    "down.involved": ("GiB down, CPU of all involved", "ms", 0, False),
    "down.added": ("GiB down, CPU the proxy adds", "ms", 0, True),
    "down.machine": ("GiB down, CPU of the machine", "ms", 0, False),
    "up.cpu": ("GiB up, CPU of the proxy", "ms", 0, True),
    "up.involved": ("GiB up, CPU of all involved", "ms", 0, False),
    "up.added": ("GiB up, CPU the proxy adds", "ms", 0, True),
    "up.machine": ("GiB up, CPU of the machine", "ms", 0, False),
    "idle": ("idle connection, user memory", "B", 0, True),
    "latency.p50": ("short connection at half load, median", "µs", 0, False),
    "latency.p99": ("... 99 of 100 are faster than", "µs", 0, False),
    "latency.p999": ("... 999 of 1000 are faster than", "µs", 0, False),
    "latency.added": ("... what the proxy adds to the median", "µs", 0, False),
}


def ratios(rounds, name, base="haproxy"):
    """Those of each round, in which both were measured within seconds of each other."""
    return [mine / theirs for mine, theirs in zip(rounds.get(name, []), rounds.get(base, []))
            if theirs > 0]


def named(key):
    what, unit = MEASURES[key][:2]
    return f"{what}, {unit}" if unit else what


def costs(results):
    """The table of medians; in brackets the median of the rounds' ratios to HAProxy."""
    rows = [key for key in MEASURES if key in results]
    columns = [name for name in LABELS if any(name in results[key] for key in rows)]

    def cell(key, name):
        rounds, (_, _, decimals, compared) = results[key], MEASURES[key]
        if name not in rounds:
            return ""
        median = f"{statistics.median(rounds[name]):.{decimals}f}"
        against = ratios(rounds, name) if compared and name != "haproxy" else []
        return f"{median} ({statistics.median(against):.2f})" if against else median

    return [["", *(LABELS[name] for name in columns)],
            *([named(key), *(cell(key, name) for name in columns)] for key in rows)]


def shares(results):
    """The table of Alacrity's cost in proportion to each other's, with the least and the greatest
    of all rounds: how far to trust the median."""
    rows = [key for key in MEASURES if key in results and MEASURES[key][3]]
    rivals = [name for name in LABELS if name not in ("alacrity", "direct") and
              any(name in results[key] for key in rows)]

    def cell(key, name):
        against = ratios(results[key], "alacrity", name)
        if not against:
            return ""
        spread = f" ({min(against):.2f} to {max(against):.2f})" if len(against) > 1 else ""
        return f"{statistics.median(against):.2f}{spread}"

    return [["Alacrity in proportion to", *(LABELS[name] for name in rivals)],
            *([MEASURES[key][0], *(cell(key, name) for name in rivals)] for key in rows)]


def tables(run):
    both = costs(run["results"]), shares(run["results"])
    return [table for table in both if len(table) > 1 and len(table[0]) > 1]


def aligned(table):
    widths = [max(map(len, column)) for column in zip(*table)]
    return "\n".join("  ".join(cell.ljust(width) if i == 0 else cell.rjust(width)
                               for i, (cell, width) in enumerate(zip(line, widths))).rstrip()
                     for line in table)


def text(run):
    return "\n\n".join(map(aligned, tables(run)))


def about(run):
    machine = run["machine"]
    rate = f"Latency at {run['rate']} connections a second. " if "latency.p50" in run["results"] \
        else ""
    return (f"{machine['date']}, {machine['cpu']}, {machine['cpus']} CPUs, Linux "
            f"{machine['kernel']}; {'; '.join(run['versions'].values())}. {rounds_of(run)}. {rate}"
            f"Load average {machine['load']}; in the median round {run['elsewhere']:.0%} of the "
            "machine's CPU time went to what has nothing to do with the load.")


def rounds_of(run):
    return "1 round" if run["rounds"] == 1 else f"{run['rounds']} rounds"


def piped(table):
    head, *rows = ("| " + " | ".join(line) + " |" for line in table)
    return "\n".join([head, "|---" + "|---:" * (len(table[0]) - 1) + "|", *rows])


def markdown(run):
    return f"{about(run)}\n\n" + "\n\n".join(map(piped, tables(run))) + "\n"


BEGIN, END = "<!-- run begins -->\n", "<!-- run ends -->\n"


def write_markdown(path, run):
    """A file with the two marks keeps what is around them."""
    path = pathlib.Path(path)
    old = path.read_text(encoding="utf-8") if path.exists() else ""
    before, begin, rest = old.partition(BEGIN)
    _, end, after = rest.partition(END)
    made = markdown(run)
    path.write_text(f"{before}{BEGIN}{made}{END}{after}" if begin and end else made,
                    encoding="utf-8")


def write_json(path, run):
    """All rounds, and what the table shows of them."""
    results = {key: {name: {"median": statistics.median(values),
                            "ratio": statistics.median(against) if against else None,
                            "rounds": values}
                     for name, values in rounds.items()
                     for against in [ratios(rounds, name) if MEASURES[key][3] else []]}
               for key, rounds in run["results"].items()}
    pathlib.Path(path).write_text(
        json.dumps({**run, "results": results}, indent=1, ensure_ascii=False) + "\n",
        encoding="utf-8")


CHARTED = {"short.cpu": "CPU of a short connection", "calls": "system calls of a short connection",
           "pingpong.cpu": "CPU of a round trip", "down.cpu": "CPU of a GiB down",
           "up.cpu": "CPU of a GiB up", "idle": "memory of an idle connection"}
WIDTH, LEFT, BAR, LIMIT = 720, 220, 14, 1.5


def write_chart(path, run):
    """Bars: the cost of each in proportion to HAProxy's, whose own are the line at 1."""
    scale = (WIDTH - LEFT - 160) / LIMIT
    body, y = [], 54
    for key, what in CHARTED.items():
        rounds = run["results"].get(key, {})
        bars = [(name, statistics.median(ratios(rounds, name))) for name in COLOURS
                if name != "haproxy" and ratios(rounds, name)]
        if not bars:
            continue
        body.append(f'<text x="{LEFT - 10}" y="{y + 11 + BAR * (len(bars) - 1) / 2:.0f}" '
                    f'text-anchor="end">{what}</text>')
        for name, ratio in bars:
            length = max(min(ratio, LIMIT), 0) * scale
            torn = " →" if ratio > LIMIT else ""
            body.append(f'<rect x="{LEFT}" y="{y}" width="{length:.1f}" height="{BAR - 3}" '
                        f'fill="{COLOURS[name]}"/><text x="{LEFT + length + 5:.1f}" y="{y + 10}" '
                        f'stroke="#fff" stroke-width="3" paint-order="stroke">'
                        f'{ratio:.2f}{torn}<tspan fill="#777"> {LABELS[name]}</tspan></text>')
            y += BAR
        y += 12
    line = LEFT + scale
    date = run["machine"]["date"].split()[0]
    chart = (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y + 10}" '
             f'viewBox="0 0 {WIDTH} {y + 10}" font-family="sans-serif" font-size="11">'
             f'<rect width="100%" height="100%" fill="#fff"/>'
             f'<text x="10" y="20" font-size="14">Cost in proportion to HAProxy; shorter is '
             f'better</text><text x="10" y="36" fill="#777">{date}, {rounds_of(run)}, '
             f'medians of the rounds\' ratios</text>'
             f'<line x1="{line:.1f}" y1="46" x2="{line:.1f}" y2="{y - 6}" stroke="#333" '
             f'stroke-dasharray="3 3"/><text x="{line:.1f}" y="42" text-anchor="middle">'
             f'HAProxy = 1</text>{"".join(body)}</svg>\n')
    pathlib.Path(path).write_text(chart, encoding="utf-8")
