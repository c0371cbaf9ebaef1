import helper  # beside this file


class Unknown(Exception):
    code = "unknown_kind"

    def __init__(self, kind):
        super().__init__("no such kind: %s" % kind)
        self.details = {"kind": kind}


def execute_function(input):
    kind = input.get("kind", "mean")
    values = input.get("values", [])
    print("computing", kind)
    if kind == "mean":
        return {"mean": helper.total(values) / len(values), "count": len(values)}
    if kind == "echo":
        return input["value"]
    if kind == "wrong":
        return {"mean": "none", "count": -1}
    if kind == "eat":
        blocks = []
        while True:
            blocks.append(bytearray(b"x") * (8 << 20))
    if kind == "nan":
        return float("nan")
    if kind == "sleep":
        import time

        time.sleep(3600)
    raise Unknown(kind)
