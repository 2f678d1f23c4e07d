#!/usr/bin/env python3
"""Checks Prometheus text (format 0.0.4) read from stdin as strictly as `promtool check metrics` does, and more.

    prometheus_check.py < metrics.txt             exit status 0: valid; 1: each fault on a line
    prometheus_check.py --in FILE < metrics.txt   also: FILE names each metric, with its type
    prometheus_check.py --planted                 shows that each rule sees a planted fault
"""
import re
import sys

NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
VALUE = re.compile(r"[+-]?(\d+(\.\d+)?([eE][+-]?\d+)?|Inf|NaN)$")
TYPES = {"counter", "gauge", "histogram", "summary", "untyped"}
SMALL_UNITS = {"ms", "us", "ns", "milliseconds", "microseconds", "nanoseconds", "minutes", "hours", "kb", "mb", "gb", "kib", "mib", "gib", "kilobytes",
               "megabytes", "percent", "bits"}


def parse_labels(text, at):
    """The labels from just behind '{', and where the sample goes on; ValueError says what is wrong."""
    labels = {}
    while text[at:at + 1] != "}":
        match = LABEL.match(text, at)
        if not match or text[match.end():match.end() + 2] != '="':
            raise ValueError("a label is not NAME=\"VALUE\"")
        name, at, value = match.group(), match.end() + 2, ""
        while text[at:at + 1] != '"':
            if at >= len(text):
                raise ValueError("a label's value does not end")
            if text[at] == "\\":
                if text[at + 1:at + 2] not in ("\\", '"', "n"):
                    raise ValueError("an unknown escape in a label's value")
                value += {"n": "\n"}.get(text[at + 1], text[at + 1])
                at += 2
            else:
                value += text[at]
                at += 1
        if name in labels:
            raise ValueError(f"the label {name} stands there twice")
        labels[name] = value
        at += 1
        if text[at:at + 1] == ",":
            at += 1
        elif text[at:at + 1] != "}":
            raise ValueError("no comma between labels")
    return labels, at + 1


def parse_sample(line):
    match = NAME.match(line)
    if not match:
        raise ValueError("no metric name")
    at, labels = match.end(), {}
    if line[at:at + 1] == "{":
        labels, at = parse_labels(line, at + 1)
    if line[at:at + 1] != " " or not VALUE.match(line[at + 1:]):
        raise ValueError("no number behind one space")
    return match.group(), labels, float(line[at + 1:])


class Checker:
    def __init__(self):
        self.faults, self.help, self.types, self.samples, self.order = [], {}, {}, {}, []

    def fault(self, where, what):
        self.faults.append(f"{where}: {what}")

    def family(self, name):
        for suffix in ("_bucket", "_sum", "_count"):
            base = name[:-len(suffix)]
            if name.endswith(suffix) and self.types.get(base) in ("histogram", "summary"):
                return base
        return name

    def comment(self, number, line):
        parts = line.split(" ", 3)
        if len(parts) < 4 or parts[1] not in ("HELP", "TYPE") or not NAME.fullmatch(parts[2]):
            return self.fault(number, "a comment that is no HELP and no TYPE")
        _, kind, name, rest = parts
        known = self.help if kind == "HELP" else self.types
        if name in known:
            self.fault(number, f"a second {kind} of {name}")
        if name in self.samples:
            self.fault(number, f"{kind} of {name} behind its samples")
        if kind == "TYPE" and rest not in TYPES:
            self.fault(number, f"an unknown type {rest}")
        if kind == "HELP" and not rest.strip():
            self.fault(number, f"no help text for {name}")
        known[name] = rest

    def sample(self, number, line):
        try:
            name, labels, value = parse_sample(line)
        except ValueError as error:
            return self.fault(number, error)
        family = self.family(name)
        if self.order[-1:] != [family]:
            if family in self.order:
                self.fault(number, f"samples of {family} do not stand together")
            self.order.append(family)
        if family not in self.types or family not in self.help:
            self.fault(number, f"{family} has no TYPE or no HELP")
        key = (name, tuple(sorted(labels.items())))
        family_samples = self.samples.setdefault(family, {})
        if key in family_samples:
            self.fault(number, f"{name} is there twice with the same labels")
        family_samples[key] = value
        if value != value or (self.types.get(family) in ("counter", "histogram") and value < 0):
            self.fault(number, f"{name} is {value}")

    def name(self, name):
        kind = self.types.get(name)
        parts = name.split("_")
        if parts[0] != "cadre":
            self.fault(name, "does not begin with cadre_")
        if name != name.lower() or ":" in name:
            self.fault(name, "capitals or colons in the name")
        if (kind == "counter") != name.endswith("_total"):
            self.fault(name, "counters, and only they, end in _total")
        if set(parts) & SMALL_UNITS:
            self.fault(name, "not a base unit")
        if set(parts) & TYPES or parts[-1] in ("bucket", "sum", "count"):
            self.fault(name, "the name has a type or a suffix of one in it")

    def histogram(self, name):
        series = {}
        for (sample, labels), value in self.samples.get(name, {}).items():
            labels = dict(labels)
            le = labels.pop("le", None)
            one = series.setdefault(tuple(sorted(labels.items())), {"buckets": [], "sum": None, "count": None})
            if sample == name + "_bucket" and le is not None:
                one["buckets"].append((float(le.replace("Inf", "inf")), value))
            elif sample in (name + "_sum", name + "_count"):
                one[sample[len(name) + 1:]] = value
            else:
                self.fault(name, f"{sample} in a histogram")
        for one in series.values():
            bounds, counts = [b for b, _ in one["buckets"]], [c for _, c in one["buckets"]]
            if bounds != sorted(bounds) or counts != sorted(counts):
                self.fault(name, "buckets are not ascending and cumulative")
            if not bounds or bounds[-1] != float("inf"):
                self.fault(name, "no +Inf bucket")
            elif counts[-1] != one["count"]:
                self.fault(name, "the +Inf bucket is not the count")
            if one["sum"] is None:
                self.fault(name, "no sum")

    def run(self, text):
        if not text.endswith("\n"):
            self.fault("end", "no newline")
        for number, line in enumerate(text.split("\n"), 1):
            if line.startswith("#"):
                self.comment(number, line)
            elif line:
                self.sample(number, line)
        for name in sorted(set(self.types) | set(self.help)):
            self.name(name)
        for name, kind in self.types.items():
            if kind == "histogram":
                self.histogram(name)
        if not self.samples:
            self.fault("end", "no samples")
        return self.faults


GOOD = """# HELP cadre_a_total Things.
# TYPE cadre_a_total counter
cadre_a_total{key="x\\\\y \\"z\\" \\n"} 3
cadre_a_total{key="y"} 4
# HELP cadre_b_seconds Times.
# TYPE cadre_b_seconds histogram
cadre_b_seconds_bucket{le="0.001"} 1
cadre_b_seconds_bucket{le="+Inf"} 2
cadre_b_seconds_sum 0.5
cadre_b_seconds_count 2
"""
PLANTED = [("cadre_a_total", "cadre_a"), ("# HELP cadre_a_total Things.\n", ""), ("# TYPE cadre_a_total counter\n", ""), ("counter", "gauge"),
           ("{key=\"y\"} 4", "{key=\"y\"} -4"), ("{key=\"y\"} 4", "{key=\"y\"} 4,0"), ("{key=\"y\"} 4", "{key=\"x\\\\y \\\"z\\\" \\n\"} 4"),
           ("\\\\y", "\\y"), ("key=\"y\"", "key=\"y\",key=\"y\""), ("key=\"y\"", "key=\"y"), ("key=\"y\"", "key=y"), ("cadre_b_seconds", "cadre_b_ms"),
           ("cadre_b", "other_b"), ("cadre_b", "cadre_B"), ("le=\"+Inf\"} 2", "le=\"+Inf\"} 3"), ("le=\"0.001\"} 1", "le=\"0.001\"} 3"),
           ("cadre_b_seconds_sum 0.5\n", ""), ("cadre_b_seconds_bucket{le=\"+Inf\"} 2\n", ""), ("Things.", ""), ("count 2\n", "count 2"),
           ("# HELP cadre_b_seconds Times.\n", "# HELP cadre_b_seconds Times.\n# HELP cadre_b_seconds Times.\n"),
           ("count 2\n", "count 2\ncadre_a_total{key=\"z\"} 1\n"), ("counter\n", "counts\n"), ("# HELP cadre_b_seconds Times.", "# a comment")]


def planted():
    if Checker().run(GOOD):
        return ["the good text is refused: " + "; ".join(Checker().run(GOOD))]
    missed = [f"{old!r} → {new!r} is not seen" for old, new in PLANTED if not Checker().run(GOOD.replace(old, new))]
    unchanged = [f"{old!r} is not in the good text" for old, new in PLANTED if GOOD.replace(old, new) == GOOD]
    return missed + unchanged


def undocumented(types, path):
    with open(path, encoding="utf-8") as file:
        lines = file.read().split("\n")
    return [f"{name} ({kind}) is not in {path}" for name, kind in types.items() if not any(line.startswith(f"| `{name}` | {kind} |") for line in lines)]


def main(arguments):
    if arguments == ["--planted"]:
        return planted()
    checker = Checker()
    faults = checker.run(sys.stdin.buffer.read().decode("utf-8"))
    return faults + undocumented(checker.types, arguments[1]) if arguments[:1] == ["--in"] else faults


if __name__ == "__main__":
    found = main(sys.argv[1:])
    for fault in found:
        print(fault)
    sys.exit(1 if found else 0)
