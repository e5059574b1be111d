"""The shape of the code against what was agreed: `python tools/shape.py [MODULE ...]`; exits 1 where missed.

Prints for each module its statements, how many of them are large, the longest function, the most complex one
and, over all notebooks, `tests/` and `tools/`, the widest line. With modules, it lists what is too much.
"""
import ast
import json
import sys
from pathlib import Path

from radon.complexity import cc_visit

ROOT = Path(__file__).resolve().parent.parent
WIDEST = 110        # columns, as a notebook's cell shows them on a screen of 1,280 points
NODES = 20          # expressions in a statement: about what a reader holds at a time
SHARE = .02         # of the statements that may have more
BODY = 25           # lines of a function, without its signature and docstring: what one look takes in
COMPLEXITY = 10     # McCabe's number, above which a function has too many ways through it
INSIDE = (ast.stmt, ast.excepthandler, ast.match_case)      # statements of their own


def nodes(statement):
    "How many expressions a statement holds, without the statements inside it"
    found, todo = 0, [statement]
    while todo:
        children = [c for c in ast.iter_child_nodes(todo.pop()) if not isinstance(c, INSIDE)]
        found += sum(isinstance(c, ast.expr) for c in children)
        todo += children
    return found


def is_list_of_names(statement):
    "Whether this is the list of a module's names, which nbdev writes"
    return isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__all__"


def body_lines(function):
    "Lines of a function's body, without its docstring"
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


def measure(path):
    "The figures of a module, and what is too much in it as [(line, what)]"
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    statements = [s for s in ast.walk(tree) if isinstance(s, ast.stmt) and not is_list_of_names(s)]
    functions = [f for f in statements if isinstance(f, (ast.FunctionDef, ast.AsyncFunctionDef))]
    large = [(s.lineno, f"{nodes(s)} expressions") for s in statements if nodes(s) > NODES]
    long = {f.name: body_lines(f) for f in functions}
    blocks = cc_visit(text)
    too_much = [(f.lineno, f"{f.name}: {body_lines(f)} lines") for f in functions if body_lines(f) > BODY]
    complex_ones = [b for b in blocks if b.complexity > COMPLEXITY]
    too_much += [(b.lineno, f"{b.name}: complexity {b.complexity}") for b in complex_ones]
    figures = dict(statements=len(statements), large=len(large), longest=max(long.values(), default=0),
                   complexity=max((b.complexity for b in blocks), default=0))
    return figures, sorted(large + too_much)


def lines():
    "Every line of code as (file and cell or line, text): the notebooks' code cells, `tests/`, `tools/`"
    for path in sorted((ROOT / "nbs").glob("*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] != "code": continue
            for line in "".join(cell["source"]).splitlines(): yield f"{path.stem} #{cell['id']}", line
    for path in sorted([*ROOT.glob("tests/*.py"), *ROOT.glob("tools/*.py"), ROOT / "setup.py"]):
        text = path.read_text(encoding="utf-8")
        for i, line in enumerate(text.splitlines(), 1): yield f"{path.name}:{i}", line


def wide_lines():
    "Lines beyond the limit as (where, columns); a cell's options, such as a figure's caption, are no code"
    return [(where, len(line)) for where, line in lines() if len(line) > WIDEST and not line.startswith("#|")]


def main(names):
    paths = sorted((ROOT / "gcig").glob("[!_]*.py"))
    found = {p.stem: measure(p) for p in paths if not names or p.stem in names}
    print(f"{'module':14} {'statements':>10} {'large':>6} {'share':>6} {'longest':>8} {'complexity':>10}")
    for name, (figures, listed) in found.items():
        n, large, longest, complexity = figures.values()
        print(f"{name:14} {n:10} {large:6} {large/n:6.1%} {longest:8} {complexity:10}")
        for line, what in listed if names else []: print(f"    line {line}: {what}")
    totals = [figures for figures, _ in found.values()]
    share = sum(f["large"] for f in totals) / sum(f["statements"] for f in totals)
    longest, complexity = (max(f[k] for f in totals) for k in ("longest", "complexity"))
    wide = wide_lines()
    widest = max(len(line) for _, line in lines() if not line.startswith("#|"))
    print(f"\nstatements above {NODES} expressions: {share:.1%} (at most {SHARE:.0%})\n"
          f"longest function body: {longest} lines (at most {BODY})\n"
          f"highest complexity: {complexity} (at most {COMPLEXITY})\n"
          f"widest line: {widest} columns (at most {WIDEST})")
    for where, columns in wide if names or len(wide) < 20 else []: print(f"    {where}: {columns} columns")
    return share > SHARE or longest > BODY or complexity > COMPLEXITY or bool(wide)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
