"""Reads what gcov counted and reports on src/; called by coverage.sh."""

import argparse
import collections
import fnmatch
import json
import os
import subprocess
import sys


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("top")
    parser.add_argument("build")
    parser.add_argument("--lines", type=float)
    parser.add_argument("--branches", type=float)
    parser.add_argument("--allow")
    return parser.parse_args()


def read_allowed(path):
    """Lines "FUNCTION : REASON" or "FILE : TEXT : REASON"; FUNCTION, FILE and TEXT (of the source line) are globs."""
    rules = []
    if not os.path.exists(path):
        return rules
    for number, line in enumerate(open(path, encoding="utf-8"), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        fields = [field.strip() for field in line.split(" : ")]
        if len(fields) not in (2, 3) or not fields[-1]:
            sys.exit(f"{path}:{number}: neither \"FUNCTION : REASON\" nor \"FILE : TEXT : REASON\"")
        rules.append({"fields": fields[:-1], "reason": fields[-1], "place": f"{path}:{number}", "used": 0})
    return rules


class Source:
    def __init__(self, path):
        self.text = open(path, encoding="utf-8").read().split("\n")
        self.lines = collections.Counter()
        self.functions = {}  # line: names; macros make several functions of one line
        self.branches = collections.Counter()

    def add(self, line):
        number = line["line_number"]
        name = line.get("function_name", "")
        self.lines[number] += line["count"]
        self.functions.setdefault(number, set()).add(name)
        for index, branch in enumerate(line["branches"]):
            self.branches[number, name, index] += branch["count"]


def gather(top, build):
    sources = {}
    prefix = os.path.join(top, "src") + os.sep
    data = [os.path.join(folder, name) for folder, _, names in os.walk(build) for name in names if name.endswith(".gcda")]
    data = [path for path in data if "/src/" in path and "/src/backends/" not in path and "cadre_faulty" not in path]
    if not data:
        sys.exit("coverage: nothing was counted")
    out = subprocess.run(["gcov", "--json-format", "--branch-probabilities", "--stdout", *data], capture_output=True, check=True, cwd=build).stdout
    for text in out.splitlines():
        for file in json.loads(text)["files"] if text.strip() else []:
            path = os.path.normpath(os.path.join(build, file["file"]))
            if not path.startswith(prefix) or path.startswith(prefix + "backends"):
                continue
            source = sources.setdefault(os.path.relpath(path, top), None) or Source(path)
            sources[os.path.relpath(path, top)] = source
            for line in file["lines"]:
                source.add(line)
    return dict(sorted(sources.items()))


def allowed(rules, path, source, number):
    for rule in rules:
        if len(rule["fields"]) == 1:
            match = any(fnmatch.fnmatchcase(name, rule["fields"][0]) for name in source.functions[number])
        else:
            match = fnmatch.fnmatchcase(path, rule["fields"][0]) and fnmatch.fnmatchcase(source.text[number - 1].strip(), rule["fields"][1])
        if match:
            rule["used"] += 1
            return True
    return False


def percent(part, whole):
    return 100.0 * part / whole if whole else 100.0


def main():
    arguments = parse()
    rules = read_allowed(arguments.allow)
    total = collections.Counter()
    missed = []
    print(f"{'file':44} {'lines':>14} {'branches':>16}  excepted")
    for path, source in gather(arguments.top, arguments.build).items():
        count = collections.Counter()
        excepted = {number for number in source.lines if not source.lines[number] and allowed(rules, path, source, number)}
        for number, hits in source.lines.items():
            if number in excepted:
                count["excepted"] += 1
                continue
            count["lines"] += 1
            count["lines hit"] += hits > 0
            if not hits:
                missed.append((path, number, source.text[number - 1].strip()))
        for (number, _, _), hits in source.branches.items():
            if number not in excepted:
                count["branches"] += 1
                count["branches hit"] += hits > 0
        total += count
        lines = f"{count['lines hit']}/{count['lines']} {percent(count['lines hit'], count['lines']):5.1f} %"
        branches = f"{count['branches hit']}/{count['branches']} {percent(count['branches hit'], count['branches']):5.1f} %"
        print(f"{path:44} {lines:>14} {branches:>16}  {count['excepted'] or ''}")
    for path, number, text in sorted(missed):
        print(f"{path}:{number}: {text}")
    for rule in rules:
        if not rule["used"]:
            print(f"{rule['place']}: this exception is not needed")
    lines, branches = percent(total["lines hit"], total["lines"]), percent(total["branches hit"], total["branches"])
    print(f"coverage: {lines:.1f} % of {total['lines']} lines, {branches:.1f} % of {total['branches']} branches; {total['excepted']} lines excepted")
    failed = lines < arguments.lines or branches < arguments.branches
    if failed:
        print(f"coverage: FAILED: wanted are {arguments.lines:g} % of lines and {arguments.branches:g} % of branches")
    sys.exit(failed)


main()
