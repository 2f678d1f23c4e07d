"""docs/manifest.schema.json against the sample manifests, which test_manifest.c reads as well: both accept good/, both refuse bad/, and what lies in
beyond/ is refused by the library alone. Also: the schema has the fields of cadre_entry, no more and no less.

usage: manifest_schema.py SOURCE_FOLDER"""
import json
import pathlib
import re
import sys

import jsonschema

GROUPS = {"workers": "{}_workers", "breaker": "breaker_{}"}
ONLY_IN_C = {"size", "folder", "memory_count", "file_count"}


def parse(path):
    def unique(pairs):
        names = [name for name, _ in pairs]
        if len(set(names)) != len(names):
            raise ValueError("a name twice")
        return dict(pairs)

    text = path.read_bytes().decode("utf-8-sig")
    if "\\u0000" in text:
        raise ValueError("a NUL in a string")
    return json.loads(text, object_pairs_hook=unique)


def fields_of_c(header, name):
    body = re.search(r"typedef struct %s \{(.*?)\} %s;" % (name, name), header.read_text(), re.S).group(1)
    return set(re.findall(r"(\w+)[;,]", re.sub(r"/\*.*?\*/", "", body, flags=re.S))) - ONLY_IN_C


def fields_of(schema):
    for name, field in schema["$defs"]["model"]["properties"].items():
        if name in GROUPS:
            yield from (GROUPS[name].format(member) for member in field["properties"])
        else:
            yield name


def refusal(validator, path):
    try:
        manifest = parse(path)
    except (ValueError, RecursionError) as error:
        return str(error) or "?"
    return next((error.message for error in validator.iter_errors(manifest)), None)


def main():
    top = pathlib.Path(sys.argv[1])
    schema = json.loads((top / "docs/manifest.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    failures = []
    defaults = schema["$defs"]["model"]["properties"]["defaults"]["properties"]
    for name, found in (("cadre_entry", set(fields_of(schema))), ("cadre_request_defaults", set(defaults))):
        expected = fields_of_c(top / "include/cadre/registry.h", name)
        if expected != found:
            failures.append(f"the schema and {name} differ in: {', '.join(sorted(expected ^ found))}")
    for folder, accepted in (("good", True), ("bad", False), ("beyond", True)):
        samples = sorted((top / "tests/manifests" / folder).glob("*.json"))
        if not samples:
            failures.append(f"no samples in {folder}")
        for path in samples:
            why = refusal(validator, path)
            if (why is None) != accepted:
                failures.append(f"{folder}/{path.name}: {why or 'the schema accepts it'}")
        print(f"{folder}: {len(samples)} samples")
    print("\n".join(failures) or "the schema agrees")
    return 1 if failures else 0


sys.exit(main())
