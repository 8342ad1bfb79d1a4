"""The lists of the benches, read from the .def files that the C programs include."""
import pathlib
import re

FOLDER = pathlib.Path(__file__).resolve().parent
LINE = re.compile(r"^([A-Z_0-9]+)\((.*)\)$", re.M)
# Columns of layers.def behind goal, name and batch.
COLUMNS = {
    "CONV": ("c", "h", "w", "k", "kh", "kw", "stride", "ph", "pw", "dilation", "groups"),
    "QCONV": ("c", "h", "w", "k", "kh", "kw", "stride", "ph", "pw", "dilation", "groups"),
    "RNN": ("cell", "steps", "input", "hidden", "weights"),
    "DENSE": ("inputs", "outputs"),
}


def lines(name):
    """(macro, [arguments]) of every line of a .def file."""
    for macro, arguments in LINE.findall((FOLDER / name).read_text()):
        yield macro, [text.strip() for text in arguments.split(",")]


def layers():
    """Layer by name: the shapes that differ in more than the batch."""
    found = {}
    for macro, (_, name, _, *values) in lines("layers.def"):
        values = [int(value) if value.isdigit() else value for value in values]
        found[name] = (macro, dict(zip(COLUMNS[macro], values)))
    return found


def goals():
    """Goal by id: peer ("best": the fastest one), {threads: times faster}, id of the layers."""
    return {row[0]: {"peer": row[1], 1: float(row[2]), 2: float(row[3]),
                     "layers": row[4] if len(row) > 4 else row[0]}
            for _, row in lines("goals.def")}
