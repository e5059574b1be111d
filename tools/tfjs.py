"""Fetch TensorFlow.js into `gcig/tfjs/`: `python tools/tfjs.py`, or `--check` to only check what lies there.

npm fetches the published archives, from wherever it is set up to. The minified files are taken as they are,
and must have the sums below. Beside them are written their licence, the notices of what the core contains,
and a list of name, version, sum and bytes. The check needs neither npm nor a network.
"""
import hashlib
import json
import re
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "gcig/tfjs"
VERSION = "4.22.0"


@dataclass
class File:
    "A file that is taken from a published archive"
    file:str # its name here
    package:str # name of the package on npm
    member:str # its path in the archive
    sha256:str # of its bytes

    @property
    def archive(self): return f"{self.package}@{VERSION}"


# those for browsers since 2017 are a tenth smaller than those for older ones
CORE = File("tf-core.min.js", "@tensorflow/tfjs-core", "package/dist/tf-core.es2017.min.js",
            "c55367325aa628ed685164d5c4210892e31c6d2d0e8c163a827b15ad330d1eba")
BACKEND = File("tf-backend-cpu.min.js", "@tensorflow/tfjs-backend-cpu",
               "package/dist/tf-backend-cpu.es2017.min.js",
               "5d703dd6791356c98c3131aa6340ca48d82806228dfad8b439e83bcaedbb508e")
FILES = (CORE, BACKEND)

# the core in full, where the notices of what it contains still stand
READABLE = "package/dist/tf-core.fesm.js"
NOTICES = (r"Copyright 2019 David Bau\..*?OTHER DEALINGS IN THE SOFTWARE\.",
           r"Copyright \(C\) 2010 by Johannes.*?THE SOFTWARE\.$")
CONTAINS = f"""\
TensorFlow.js {VERSION}, Copyright 2024 Google LLC, under the Apache License 2.0 (LICENSE). Its core contains
long.js 4.0.0 by Daniel Wirtz, under the same licence, and seedrandom 3.0.5 with Alea, under these:
"""
NOTICE = "4f6e966a53d7417c714a481a524e0af5530190dc365fd6c51f06872fa7fb7a0c"        # the sum of all that


def sum_of(data): return hashlib.sha256(data).hexdigest()


def fetched(archive, folder):
    "The archive of a package, such as name@1.0.0, fetched to a folder by npm"
    command = ["npm", "pack", archive, "--silent", "--pack-destination", folder]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return Path(folder) / done.stdout.split()[-1]


def member(archive, path):
    "The bytes of a file in an archive"
    with tarfile.open(archive) as tar: return tar.extractfile(path).read()


def notices(source):
    "What must be said of those whose code the core contains, as it stands in its readable form"
    found = [re.search(pattern, source, re.S | re.M)[0] for pattern in NOTICES]
    plain = [re.sub(r"^\s*// ?", "", text, flags=re.M) for text in found]
    return "\n\n".join([CONTAINS.rstrip(), *plain]) + "\n"


def listed(contents):
    "The list of the files, as text: name, version, licence, sum and bytes of each"
    common = dict(version=VERSION, license="Apache-2.0")
    rows = [asdict(f) | common | dict(bytes=len(contents[f.file])) for f in FILES]
    return json.dumps(rows, indent=1) + "\n"


def problems(contents):
    "What is wrong with the files of the folder, {name: bytes}, in words"
    wrong = [f.file for f in FILES if sum_of(contents.get(f.file, b"")) != f.sha256]
    if wrong: return [f"{name} is not what was published as {VERSION}" for name in wrong]
    expected = {"LICENSE": (ROOT / "LICENSE").read_bytes(), "tfjs.json": listed(contents).encode()}
    other = [name for name, data in expected.items() if contents.get(name) != data]
    if sum_of(contents.get("NOTICE", b"")) != NOTICE: other.append("NOTICE")
    return [f"{name} is missing or was changed" for name in other]


def fetch():
    "All that belongs into the folder, {name: bytes}, fetched anew"
    with tempfile.TemporaryDirectory() as folder:
        archives = {f.file: fetched(f.archive, folder) for f in FILES}
        contents = {f.file: member(archives[f.file], f.member) for f in FILES}
        source = member(archives[CORE.file], READABLE).decode()
    texts = {"NOTICE": notices(source), "tfjs.json": listed(contents)}
    encoded = {name: text.encode() for name, text in texts.items()}
    return contents | encoded | {"LICENSE": (ROOT / "LICENSE").read_bytes()}


def lying(folder):
    "The files of a folder, {name: bytes}"
    return {path.name: path.read_bytes() for path in folder.glob("*") if path.is_file()}


def main(only_check):
    contents = lying(FOLDER) if only_check else fetch()
    if found := problems(contents): sys.exit("\n".join(found))
    if only_check: return
    FOLDER.mkdir(exist_ok=True)
    for name, data in contents.items(): (FOLDER / name).write_bytes(data)


if __name__ == "__main__": main("--check" in sys.argv[1:])
