"""json_schema.py <schema>: what a validator of others says of JSON documents, one a
line on stdin; a line each on stdout: "ok", or the pointers at fault. The schema itself
is checked against its own draft first. t/05plans.t runs it (python3-jsonschema)."""
import json
import sys

from jsonschema import Draft202012Validator

with open(sys.argv[1], encoding="utf-8") as f:
    schema = json.load(f)
Draft202012Validator.check_schema(schema)
validator = Draft202012Validator(schema)


def pointer(error):
    """Where an error is, as a JSON pointer."""
    return "".join("/" + str(p).replace("~", "~0").replace("/", "~1") for p in error.absolute_path)


for line in sys.stdin:
    found = sorted({pointer(e) or "/" for e in validator.iter_errors(json.loads(line))})
    print(" ".join(found) or "ok")
