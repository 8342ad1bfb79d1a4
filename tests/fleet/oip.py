"""The Open Inference Protocol's inference requests, in JSON, binary and mixed, and their answers."""
import json

import numpy

DTYPES = {"bool": "BOOL", "uint8": "UINT8", "uint16": "UINT16", "uint32": "UINT32",
          "uint64": "UINT64", "int8": "INT8", "int16": "INT16", "int32": "INT32",
          "int64": "INT64", "float32": "FP32", "float64": "FP64"}
ARRAYS = {name: dtype for dtype, name in DTYPES.items()}
HEADER = "Inference-Header-Content-Length"


def tensor(name, array, flat=False):
    """An input with its data in JSON. float32 goes by way of double, which loses nothing."""
    data = array.ravel() if flat or array.ndim == 0 else array
    return {"name": name, "datatype": DTYPES[array.dtype.name], "shape": list(array.shape),
            "data": data.tolist()}


def request(inputs, binary=(), flat=False, **more):
    """(body, headers) of a request; the inputs named in `binary` travel as octets."""
    listed, tail = [], b""
    for name, array in inputs.items():
        if name in binary:
            octets = numpy.ascontiguousarray(array).tobytes()
            listed.append({"name": name, "datatype": DTYPES[array.dtype.name],
                           "shape": list(array.shape),
                           "parameters": {"binary_data_size": len(octets)}})
            tail += octets
        else:
            listed.append(tensor(name, array, flat))
    head = json.dumps({"inputs": listed, **more}).encode()
    return head + tail, {HEADER: str(len(head))} if binary else {}


def outputs(answer):
    """{name: array} of an HTTP answer, whatever mix of JSON and binary it is."""
    if answer.status != 200:
        raise AssertionError(f"status {answer.status}: {answer.body[:500]!r}")
    size = int(answer.headers.get(HEADER.lower(), len(answer.body)))
    head, tail = json.loads(answer.body[:size]), answer.body[size:]
    found = {}
    for entry in head["outputs"]:
        dtype = numpy.dtype(ARRAYS[entry["datatype"]])
        count = entry.get("parameters", {}).get("binary_data_size")
        if count is None:
            data = numpy.array(entry["data"], dtype)
        else:
            data, tail = numpy.frombuffer(tail[:count], dtype), tail[count:]
        found[entry["name"]] = data.reshape(entry["shape"])
    if tail:
        raise AssertionError(f"{len(tail)} octets are left over after the last output")
    return found


def ask(fleet, model, inputs, binary=(), **more):
    """One request; its answer, whatever it says."""
    body, headers = request(inputs, binary, **more)
    return fleet.ask("POST", f"/v2/models/{model}/infer", body, headers)


def infer(fleet, model, inputs, binary=(), **more):
    """One request, all the way; {name: array}."""
    return outputs(ask(fleet, model, inputs, binary, **more))
