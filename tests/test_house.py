"""Collaborators are handed over in constructors, not hung on another module's object; and no import leads back.

A hook assigned from outside is an arrow that no import shows, and whoever assigns second takes the first one's place in
silence.

What is caught, in every module of the package, is an assignment to an attribute of anything but ``self`` and ``cls``:
``x.y = …``, ``self.x.y = …``, annotated and augmented ones, ``setattr(x, "y", …)``. It is a fault, unless the assigning
module itself declares ``y`` in a class, if

- some class of the package declares ``y`` as a callable: by an annotation that says ``Callable``, in the class's body
  or at ``self.y: … =``, or by giving it a lambda; or
- what is assigned is a lambda, a function of the assigning module, a method of one of its classes, or a ``partial``.

Not caught: a callable that is kept in a collection, one behind an alias of ``Callable``, and an object with a method
where no function is seen.
"""

from __future__ import annotations

import ast
import graphlib
from typing import TYPE_CHECKING

import grimp
import pytest

from tests.serving import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PACKAGE = REPOSITORY / "durable_streams"
OWN = {"self", "cls"}
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def assignments(tree: ast.AST) -> Iterator[tuple[ast.expr, ast.expr | None, ast.expr | None]]:
    """Yield every assignment's target, annotation and value."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            yield from ((target, None, node.value) for target in node.targets)
        elif isinstance(node, ast.AnnAssign):
            yield node.target, node.annotation, node.value
        elif isinstance(node, ast.AugAssign):
            yield node.target, None, node.value
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "setattr" and len(node.args) == 3:
            name = node.args[1]
            if isinstance(name, ast.Constant):
                yield ast.Attribute(node.args[0], str(name.value)), None, node.args[2]


def is_own(target: ast.Attribute) -> bool:
    return isinstance(target.value, ast.Name) and target.value.id in OWN


def declared(tree: ast.AST) -> dict[str, bool]:
    """Return the attributes that a module's classes declare, and whether as callables."""
    found: dict[str, bool] = {}
    for kind in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
        of_class = {id(statement.target) for statement in kind.body if isinstance(statement, ast.AnnAssign)}
        for target, annotation, value in assignments(kind):
            if id(target) in of_class and isinstance(target, ast.Name):
                name = target.id
            elif isinstance(target, ast.Attribute) and is_own(target):
                name = target.attr
            else:
                continue
            said = "" if annotation is None else ast.unparse(annotation)
            found[name] = found.get(name, False) or "Callable" in said or isinstance(value, ast.Lambda)
    return found


def functions(tree: ast.AST) -> set[str]:
    return {node.name for node in ast.walk(tree) if isinstance(node, FUNCTIONS)}


def is_function(value: ast.expr | None, known: set[str]) -> bool:
    if isinstance(value, ast.Name):
        return value.id in known
    if isinstance(value, ast.Attribute):
        return is_own(value) and value.attr in known
    if isinstance(value, ast.Call):
        return ast.unparse(value.func) in {"partial", "functools.partial"}
    return isinstance(value, ast.Lambda)


def hooks(tree: ast.AST, callables: set[str]) -> list[str]:
    """Return the assignments by which a module hangs a function on another module's object."""
    own, known = declared(tree), functions(tree)
    return [
        f"{ast.unparse(target)} = {'' if value is None else ast.unparse(value)}"
        for target, _, value in assignments(tree)
        if isinstance(target, ast.Attribute) and not is_own(target) and target.attr not in own
        if target.attr in callables or is_function(value, known)
    ]


@pytest.mark.slow
def test_no_module_assigns_a_hook_of_anothers_object() -> None:
    trees = {path: ast.parse(path.read_text("utf-8")) for path in modules()}
    callables = {name for tree in trees.values() for name, is_callable in declared(tree).items() if is_callable}
    found = {path.relative_to(PACKAGE).as_posix(): hooks(tree, callables) for path, tree in trees.items()}
    assert {module: assigned for module, assigned in found.items() if assigned} == {}


@pytest.mark.parametrize(
    "line",
    [
        "writer.on_failure = handler",
        "self.writer.on_failure = handler",
        "writer.anything = lambda error: self.stop(error)",
        "writer.anything = self.stop",
        "writer.anything = helper",
        "writer.anything = partial(helper, 1)",
        "writer.on_failure: object = handler",
        'setattr(writer, "on_failure", handler)',
    ],
)
def test_what_it_finds(line: str) -> None:
    module = f"def helper(): ...\nclass Other:\n    def stop(self):\n        {line}\n"
    assert len(hooks(ast.parse(module), {"on_failure"})) == 1


@pytest.mark.parametrize(
    "line",
    ["self.on_failure = handler", "entry.head = head", "made.own = helper", "cls.on_failure = handler"],
)
def test_what_it_lets_pass(line: str) -> None:
    module = f"def helper(): ...\nclass Other:\n    own: object\n    def stop(self):\n        {line}\n"
    assert hooks(ast.parse(module), {"on_failure"}) == []


def test_what_counts_as_declared_as_a_callable() -> None:
    module = """
class Writer:
    given: Callable[[], None]
    def __init__(self):
        self.on_failure: Callable[[Exception], object] | None = None
        self.called = lambda: None
        self.count = 0
"""
    assert declared(ast.parse(module)) == {"given": True, "on_failure": True, "called": True, "count": False}


def test_no_module_leads_back_to_itself() -> None:
    """Imports for types count too: whoever reads one module of a circle has to read them all."""
    graph = grimp.build_graph("durable_streams")
    order = graphlib.TopologicalSorter(
        {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    )
    assert len(list(order.static_order())) == len(graph.modules)
