"""Runs a Python function for kiln: python3 runner.py MODULE.py

MODULE.py defines execute_function(input), which takes and returns what json.loads
gives. Requests come on stdin, one a line; responses go to stdout, one a line, and
whatever else is written to stdout goes to stderr, the log. An exception becomes an
error: its text is the message, its attributes code and details go along. Python 3.7
or newer, nothing but the standard library.
"""

import importlib.util
import json
import math
import os
import re
import sys
import traceback


class Invalid(Exception):
    def __init__(self, pointer, message):
        super().__init__(message)
        self.pointer = pointer


def is_type(name, v):
    number = isinstance(v, (int, float)) and not isinstance(v, bool)
    return {
        "null": v is None,
        "boolean": isinstance(v, bool),
        "integer": number and (isinstance(v, int) or v.is_integer()),
        "number": number,
        "string": isinstance(v, str),
        "array": isinstance(v, (list, tuple)),
        "object": isinstance(v, dict),
    }.get(name, True)


def same(a, b):
    return a == b and isinstance(a, bool) == isinstance(b, bool)


ANNOTATIONS = {"$schema", "$id", "$comment", "$defs", "definitions", "title", "description", "default", "examples", "format", "readOnly", "writeOnly", "deprecated"}
DIALECT = "https://json-schema.org/draft/2020-12/schema"


class Checker:
    """Checks values as far as it knows the schema's keywords: who sent the request
    checks all of it. check returns False where it is not sure, and raises Invalid."""

    def __init__(self, root):
        self.root = root
        self.known = not isinstance(root, dict) or root.get("$schema", DIALECT).rstrip("#") == DIALECT

    def run(self, v):
        if self.known:
            self.check(self.root, v, "", 0)

    def holds(self, schema, v, depth):
        try:
            return True if self.check(schema, v, "", depth) else None
        except Invalid:
            return False

    def resolve(self, ref):
        at = self.root
        if not ref.startswith("#") or ref[1:2] not in ("", "/") or "%" in ref:
            return None
        for part in ref.split("/")[1:]:
            part = part.replace("~1", "/").replace("~0", "~")
            if not isinstance(at, dict) or part not in at:
                return None
            at = at[part]
        return at

    def check(self, schema, v, at, depth):
        if depth > 200:
            return False
        if schema is True:
            return True
        if schema is False:
            raise Invalid(at, "no value is allowed here")
        sure = True
        for keyword, want in schema.items():
            if keyword not in ANNOTATIONS:
                rule = getattr(self, "on_" + keyword.lstrip("$"), None)
                sure = bool(rule and rule(want, v, at, depth + 1, schema)) and sure
        return sure

    def on_type(self, want, v, at, depth, schema):
        names = want if isinstance(want, list) else [want]
        if not any(is_type(name, v) for name in names):
            raise Invalid(at, "want %s, got %s" % (" or ".join(names), type(v).__name__))
        return True

    def on_enum(self, want, v, at, depth, schema):
        if isinstance(v, (list, dict)):
            return False
        if not any(same(v, w) for w in want):
            raise Invalid(at, "not one of the values allowed")
        return True

    def on_const(self, want, v, at, depth, schema):
        return self.on_enum([want], v, at, depth, schema)

    def on_ref(self, want, v, at, depth, schema):
        target = self.resolve(want)
        return target is not None and self.check(target, v, at, depth)

    def on_properties(self, want, v, at, depth, schema):
        if not isinstance(v, dict):
            return True
        return all([self.check(s, v[k], at + "/" + escape(k), depth) for k, s in want.items() if k in v])

    def on_additionalProperties(self, want, v, at, depth, schema):
        if not isinstance(v, dict):
            return True
        if "patternProperties" in schema:
            return False
        extra = [k for k in v if k not in schema.get("properties", {})]
        if want is False and extra:
            raise Invalid(at, "the property %r is not allowed" % extra[0])
        return all([self.check(want, v[k], at + "/" + escape(k), depth) for k in extra])

    def on_required(self, want, v, at, depth, schema):
        for k in want if isinstance(v, dict) else ():
            if k not in v:
                raise Invalid(at, "the property %r is missing" % k)
        return True

    def on_items(self, want, v, at, depth, schema):
        if not isinstance(v, (list, tuple)):
            return True
        first = len(schema.get("prefixItems", []))
        return all([self.check(want, v[i], "%s/%d" % (at, i), depth) for i in range(first, len(v))])

    def on_prefixItems(self, want, v, at, depth, schema):
        if not isinstance(v, (list, tuple)):
            return True
        return all([self.check(s, x, "%s/%d" % (at, i), depth) for i, (s, x) in enumerate(zip(want, v))])

    def on_pattern(self, want, v, at, depth, schema):
        if not isinstance(v, str):
            return True
        if not re.fullmatch(r"[\^$A-Za-z0-9 _:/@,\-\[\]+*?.]*", want):
            return False  # Python and kiln may read it differently
        if not re.search(want.replace("$", r"\Z"), v):
            raise Invalid(at, "does not match the pattern %r" % want)
        return True

    def on_allOf(self, want, v, at, depth, schema):
        return all([self.check(s, v, at, depth) for s in want])

    def on_anyOf(self, want, v, at, depth, schema):
        found = [self.holds(s, v, depth) for s in want]
        if all(f is False for f in found):
            raise Invalid(at, "is none of the %d things it may be" % len(want))
        return True in found

    def on_oneOf(self, want, v, at, depth, schema):
        found = [self.holds(s, v, depth) for s in want]
        if found.count(True) > 1 or all(f is False for f in found):
            raise Invalid(at, "is %d of the things of which it must be one" % found.count(True))
        return None not in found

    def on_not(self, want, v, at, depth, schema):
        found = self.holds(want, v, depth)
        if found:
            raise Invalid(at, "is what it must not be")
        return found is False


def bound(applies, measure, fails, what):
    def rule(self, want, v, at, depth, schema):
        if applies(v) and fails(measure(v), want):
            raise Invalid(at, "%s: got %s, want %s" % (what, measure(v), want))
        return True

    return rule


for name, applies, measure in (
    ("Length", lambda v: isinstance(v, str), len),
    ("Items", lambda v: isinstance(v, (list, tuple)), len),
    ("Properties", lambda v: isinstance(v, dict), len),
    ("imum", lambda v: is_type("number", v), lambda v: v),
):
    setattr(Checker, "on_min" + name, bound(applies, measure, lambda got, want: got < want, "min" + name))
    setattr(Checker, "on_max" + name, bound(applies, measure, lambda got, want: got > want, "max" + name))
Checker.on_exclusiveMinimum = bound(applies, measure, lambda got, want: got <= want, "exclusiveMinimum")
Checker.on_exclusiveMaximum = bound(applies, measure, lambda got, want: got >= want, "exclusiveMaximum")


def escape(key):
    return key.replace("~", "~0").replace("/", "~1")


class TooLarge(ValueError):
    pass


def number(text):
    value = float(text)
    if math.isinf(value):
        raise TooLarge("the number %s is beyond what Python's float can hold" % text)
    return value


def no_constant(text):
    raise ValueError("%s is no JSON" % text)


def error(message, code=None, details=None):
    e = {"message": message or "the function gave no reason"}
    if code:
        e["code"] = str(code)
    if details is not None:
        e["details"] = details
    return {"ok": False, "error": e}


def invalid(side, e):
    return error("at %s: %s" % (e.pointer or "the value", e), side + "_invalid", {"pointer": e.pointer, "message": str(e)})


def respond(line, function):
    try:
        request = json.loads(line, parse_float=number, parse_constant=no_constant)
    except TooLarge as e:
        return error(str(e), "input_invalid")
    except (ValueError, RecursionError) as e:
        return error(str(e), "request_invalid")
    try:
        Checker(request.get("schema_in", True)).run(request["input"])
    except Invalid as e:
        return invalid("input", e)
    try:
        output = function(request["input"])
    except MemoryError:
        return error("out of memory", "memory")
    except BaseException as e:
        traceback.print_exc()
        return error(str(e) or type(e).__name__, getattr(e, "code", None) or type(e).__name__, getattr(e, "details", None))
    try:
        Checker(request.get("schema_out", True)).run(output)
    except Invalid as e:
        return invalid("output", e)
    return {"ok": True, "output": output}


def encode(response):
    try:
        return json.dumps(response, allow_nan=False, separators=(",", ":"))
    except MemoryError:
        return json.dumps(error("out of memory", "memory"))
    except (TypeError, ValueError, RecursionError) as e:
        return json.dumps(error("the output has no JSON: %s" % e, "output_invalid"))


def main():
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what prints goes to the log
    path = sys.argv[1]
    sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
    spec = importlib.util.spec_from_file_location("function", path)
    module = importlib.util.module_from_spec(spec)
    sys.dont_write_bytecode = True
    spec.loader.exec_module(module)
    function = getattr(module, "execute_function", None)
    if function is None:
        sys.exit("%s defines no execute_function" % path)
    for line in iter(sys.stdin.buffer.readline, b""):
        if line.strip():
            answer = memoryview(encode(respond(line, function)).encode() + b"\n")
            sys.stdout.flush()
            while answer:
                answer = answer[out.write(answer) :]


main()
