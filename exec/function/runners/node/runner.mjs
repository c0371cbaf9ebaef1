// Runs a JavaScript function for kiln: node runner.mjs MODULE
//
// MODULE, an ES or a CommonJS module, exports executeFunction(input), which takes and
// returns what JSON.parse gives, or a promise of it. Requests come on stdin, one a
// line; responses go to stdout, one a line, and what console.log writes goes to
// stderr, the log. An error's message, code and details go to the caller. Numbers are
// JavaScript's: integers are exact up to 2^53. Node 18 or newer, nothing else.

import { readSync, writeSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

class Invalid extends Error {
  constructor(pointer, message) {
    super(message);
    this.pointer = pointer;
  }
}

const isObject = (v) => v !== null && typeof v === "object" && !Array.isArray(v);
const types = {
  null: (v) => v === null,
  boolean: (v) => typeof v === "boolean",
  integer: (v) => Number.isInteger(v),
  number: (v) => typeof v === "number",
  string: (v) => typeof v === "string",
  array: Array.isArray,
  object: isObject,
};
const escape = (key) => key.replaceAll("~", "~0").replaceAll("/", "~1");
const has = (o, key) => Object.prototype.hasOwnProperty.call(o, key);
const every = (list, f) => list.map(f).every(Boolean); // without stopping at the first
const length = (v) => [...v].length;

const annotations = new Set(["$schema", "$id", "$comment", "$defs", "definitions", "title", "description", "default", "examples", "format", "readOnly", "writeOnly", "deprecated"]);
const dialect = "https://json-schema.org/draft/2020-12/schema";

// bound makes a rule that compares a measure of the values it applies to.
const bound = (name, applies, measure, fails) => (want, v, at) => {
  if (applies(v) && fails(measure(v), want)) throw new Invalid(at, `${name}: got ${measure(v)}, want ${want}`);
  return true;
};
const less = (got, want) => got < want;
const more = (got, want) => got > want;

// rules return false where they are not sure, and throw Invalid. Who sent the request
// checks all of the schema.
const rules = {
  type(want, v, at) {
    if (![want].flat().some((name) => types[name]?.(v) ?? true)) throw new Invalid(at, `want ${[want].flat().join(" or ")}, got ${JSON.stringify(v)?.slice(0, 40)}`);
    return true;
  },
  enum(want, v, at) {
    if (v !== null && typeof v === "object") return false;
    if (!want.includes(v)) throw new Invalid(at, "not one of the values allowed");
    return true;
  },
  const: (want, v, at) => rules.enum([want], v, at),
  $ref(want, v, at, c) {
    const target = c.resolve(want);
    return target !== undefined && c.check(target, v, at);
  },
  properties: (want, v, at, c) => !isObject(v) || every(Object.entries(want).filter(([k]) => has(v, k)), ([k, s]) => c.check(s, v[k], `${at}/${escape(k)}`)),
  additionalProperties(want, v, at, c, schema) {
    if (!isObject(v)) return true;
    if (schema.patternProperties) return false;
    const extra = Object.keys(v).filter((k) => !has(schema.properties ?? {}, k));
    if (want === false && extra.length) throw new Invalid(at, `the property ${JSON.stringify(extra[0])} is not allowed`);
    return every(extra, (k) => c.check(want, v[k], `${at}/${escape(k)}`));
  },
  required(want, v, at) {
    const missing = isObject(v) && want.find((k) => !has(v, k));
    if (missing !== false && missing !== undefined) throw new Invalid(at, `the property ${JSON.stringify(missing)} is missing`);
    return true;
  },
  items(want, v, at, c, schema) {
    if (!Array.isArray(v)) return true;
    const first = schema.prefixItems?.length ?? 0;
    return every(v.slice(first), (x, i) => c.check(want, x, `${at}/${first + i}`));
  },
  prefixItems: (want, v, at, c) => !Array.isArray(v) || every(v.slice(0, want.length), (x, i) => c.check(want[i], x, `${at}/${i}`)),
  pattern(want, v, at) {
    if (typeof v !== "string") return true;
    if (!/^[\^$A-Za-z0-9 _:/@,\-[\]+*?.]*$/.test(want)) return false; // kiln may read it differently
    if (!new RegExp(want, "u").test(v)) throw new Invalid(at, `does not match the pattern ${want}`);
    return true;
  },
  allOf: (want, v, at, c) => every(want, (s) => c.check(s, v, at)),
  anyOf(want, v, at, c) {
    const found = want.map((s) => c.holds(s, v));
    if (found.every((f) => f === false)) throw new Invalid(at, `is none of the ${want.length} things it may be`);
    return found.includes(true);
  },
  oneOf(want, v, at, c) {
    const found = want.map((s) => c.holds(s, v));
    const valid = found.filter((f) => f === true).length;
    if (valid > 1 || found.every((f) => f === false)) throw new Invalid(at, `is ${valid} of the things of which it must be one`);
    return !found.includes(undefined);
  },
  not(want, v, at, c) {
    const found = c.holds(want, v);
    if (found) throw new Invalid(at, "is what it must not be");
    return found === false;
  },
  exclusiveMinimum: bound("exclusiveMinimum", types.number, Number, (got, want) => got <= want),
  exclusiveMaximum: bound("exclusiveMaximum", types.number, Number, (got, want) => got >= want),
};
for (const [name, applies, measure] of [
  ["Length", types.string, length],
  ["Items", types.array, (v) => v.length],
  ["Properties", isObject, (v) => Object.keys(v).length],
  ["imum", types.number, Number],
]) {
  rules["min" + name] = bound("min" + name, applies, measure, less);
  rules["max" + name] = bound("max" + name, applies, measure, more);
}

class Checker {
  constructor(root) {
    this.root = root;
    this.depth = 0;
  }
  run(v) {
    if (!isObject(this.root) || (this.root.$schema ?? dialect).replace(/#$/, "") === dialect) this.check(this.root, v, "");
  }
  check(schema, v, at) {
    if (this.depth > 200) return false;
    if (schema === true) return true;
    if (schema === false) throw new Invalid(at, "no value is allowed here");
    this.depth++;
    try {
      return every(Object.entries(schema).filter(([k]) => !annotations.has(k)), ([k, want]) => has(rules, k) && rules[k](want, v, at, this, schema));
    } finally {
      this.depth--;
    }
  }
  holds(schema, v) {
    try {
      return this.check(schema, v, "") || undefined;
    } catch (e) {
      if (e instanceof Invalid) return false;
      throw e;
    }
  }
  resolve(ref) {
    if (!/^#(\/|$)/.test(ref) || ref.includes("%")) return undefined;
    return ref.split("/").slice(1).reduce((at, part) => {
      part = part.replaceAll("~1", "/").replaceAll("~0", "~");
      return isObject(at) && has(at, part) ? at[part] : undefined;
    }, this.root);
  }
}

// finite throws where a number has become infinite, or is not one: JSON would have null.
function finite(v, at) {
  if (typeof v === "number" && !Number.isFinite(v)) throw new Invalid(at, "is a number beyond what JavaScript can hold");
  if (v !== null && typeof v === "object" && typeof v.toJSON !== "function") for (const k of Object.keys(v)) finite(v[k], `${at}/${escape(k)}`);
}

const error = (message, code, details) => ({ ok: false, error: { message: String(message) || "the function gave no reason", code, details } });
const invalid = (side, e) => error(`at ${e.pointer || "the value"}: ${e.message}`, `${side}_invalid`, { pointer: e.pointer, message: e.message });

async function respond(line, f) {
  let request, output;
  try {
    request = JSON.parse(line);
  } catch (e) {
    return error(e.message, "request_invalid");
  }
  try {
    finite(request.input, "");
    new Checker(request.schema_in ?? true).run(request.input);
  } catch (e) {
    if (e instanceof Invalid) return invalid("input", e);
    throw e;
  }
  try {
    output = (await f(request.input)) ?? null;
  } catch (e) {
    if (e instanceof RangeError && /allocation failed/i.test(e.message)) return error("out of memory", "memory");
    console.error(e);
    const code = e?.code ?? e?.name;
    return error(e?.message ?? e, code === undefined ? undefined : String(code), e?.details);
  }
  try {
    finite(output, "");
    new Checker(request.schema_out ?? true).run(output);
    return { ok: true, output };
  } catch (e) {
    return e instanceof Invalid ? invalid("output", e) : error(e.message, "output_invalid");
  }
}

function encode(response) {
  try {
    return JSON.stringify(response);
  } catch (e) {
    return JSON.stringify(error(`the output has no JSON: ${e.message}`, "output_invalid"));
  }
}

// lines yields what stdin holds, line by line.
function* lines() {
  const block = Buffer.allocUnsafe(1 << 16);
  let parts = [];
  for (;;) {
    const n = readSync(0, block);
    if (n === 0) break;
    let from = 0;
    for (let at; (at = block.subarray(0, n).indexOf(10, from)) >= 0; from = at + 1) {
      yield Buffer.concat([...parts, block.subarray(from, at)]).toString();
      parts = [];
    }
    if (from < n) parts.push(Buffer.from(block.subarray(from, n)));
  }
  if (parts.length) yield Buffer.concat(parts).toString();
}

process.stdout.write = process.stderr.write.bind(process.stderr);
const module = await import(pathToFileURL(resolve(process.argv[2])).href);
const f = module.executeFunction ?? module.default?.executeFunction;
if (typeof f !== "function") {
  console.error(`${process.argv[2]} exports no executeFunction`);
  process.exit(1);
}
for (const line of lines()) {
  if (!line.trim()) continue;
  const answer = Buffer.from(encode(await respond(line, f)) + "\n");
  for (let at = 0; at < answer.length; ) at += writeSync(1, answer, at);
}
process.exit(0);
