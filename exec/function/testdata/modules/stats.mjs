import { total } from "./helper.mjs";

export async function executeFunction({ kind = "mean", values = [], value }) {
  console.log("computing", kind);
  switch (kind) {
    case "mean":
      return { mean: total(values) / values.length, count: values.length };
    case "echo":
      return value;
    case "wrong":
      return { mean: "none", count: -1 };
    case "eat":
      for (const blocks = []; ; ) blocks.push(Buffer.alloc(8 << 20, 1));
    case "nan":
      return NaN;
    case "sleep":
      await new Promise((done) => setTimeout(done, 3600_000));
  }
  throw Object.assign(new Error(`no such kind: ${kind}`), { code: "unknown_kind", details: { kind } });
}
