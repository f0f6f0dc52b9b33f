"""Templates become plain Python functions: by `make install`, so that no boot needs jinja2.

To import jinja2 takes longer than all else that a generator does, at each boot and daemon-reload, and a
host may lose it. So only its parser is used, by who installs svc. What our templates are made of is
little; what is not known here is refused there.
"""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import jinja2
from jinja2 import nodes

_COMPARISONS = {"eq": "==", "ne": "!=", "gt": ">", "gteq": ">=", "lt": "<", "lteq": "<="}

_HEAD = '''"""The templates of the units, translated by svc.units.translate. Changes made here are lost."""
'''
_FUNCTION = """

def _template_{number}(_values):
    _parts = []
{body}
    return "".join(_parts)
"""


def translate(folder: Path) -> str:
    """Return the source of a module with TEMPLATES: {a template's name: its function of the values}.

    Raises jinja2.TemplateSyntaxError for a template that is not good, or that has what is not known here.
    """
    # Units are no HTML; what must be escaped is escaped by svc.units.escape.
    parser = jinja2.Environment(autoescape=False, keep_trailing_newline=True)
    module, table = _HEAD, ""
    for number, file in enumerate(sorted(folder.glob("*.j2"))):
        tree = parser.parse(file.read_text(encoding="utf-8"), filename=file.name)
        module += _FUNCTION.format(
            number=number, body=_indented(_Block(file.name, whole=True).lines(tree.body))
        )
        table += f"    {file.name!r}: _template_{number},\n"
    return f"{module}\n\nTEMPLATES = {{\n{table}}}\n"


class _Block:
    """A whole template, or a block inside it with the names that loops set around it."""

    def __init__(self, file: str, names: Iterable[str] = (), *, whole: bool = False) -> None:
        self.file = file
        self.names = set(names)
        self.whole = whole

    def lines(self, body: Iterable[nodes.Node]) -> Iterator[str]:
        """Yield Python for statements of a template."""
        for node in body:
            match node:
                case nodes.Output(nodes=parts):
                    yield "_parts += ["
                    yield _indented(f"{self.text(part)}," for part in parts)
                    yield "]"
                case nodes.Assign(target=nodes.Name(name=name), node=value) if self.whole:
                    yield f"{_local(name)} = {self.expression(value)}"
                    self.names.add(name)
                case nodes.For(target=target, iter=iterable, else_=[], test=None, recursive=False):
                    names = self.targets(target)
                    yield f"for {', '.join(map(_local, names))} in {self.expression(iterable)}:"
                    yield self.inner(node.body, names)
                case nodes.If(elif_=[]):
                    yield f"if {self.expression(node.test)}:"
                    yield self.inner(node.body)
                    if node.else_:
                        yield "else:"
                        yield self.inner(node.else_)
                case _:
                    raise self.unknown(node, type(node).__name__)

    def inner(self, body: Iterable[nodes.Node], names: Iterable[str] = ()) -> str:
        """Return Python for a block inside this one, where `names` are set besides."""
        return _indented(_Block(self.file, self.names.union(names)).lines(body)) or "    pass"

    def targets(self, target: nodes.Node) -> list[str]:
        """Return the names that a loop sets: one, or several with commas."""
        items = target.items if isinstance(target, nodes.Tuple) else [target]
        names = [item.name for item in items if isinstance(item, nodes.Name)]
        if len(names) < len(items):
            raise self.unknown(target, "a tuple in a tuple")
        return names

    def text(self, node: nodes.Expr) -> str:
        """Return Python for what is written into the text: data of the template, or an expression."""
        return repr(node.data) if isinstance(node, nodes.TemplateData) else f"str({self.expression(node)})"

    def expression(self, node: nodes.Node | None) -> str:
        """Return Python for an expression. A name that is neither set nor among the values is a KeyError."""
        of = self.expression
        match node:
            case None:  # … if …, without else
                python = "''"
            case nodes.Const(value=value):
                python = repr(value)
            case nodes.Name(name=name):
                python = _local(name) if name in self.names else f"_values[{name!r}]"
            case nodes.Not(node=inner):
                python = f"(not {of(inner)})"
            case nodes.CondExpr(test=test, expr1=yes, expr2=no):
                python = f"({of(yes)} if {of(test)} else {of(no)})"
            case nodes.Compare(expr=left, ops=[nodes.Operand(op=op, expr=right)]) if op in _COMPARISONS:
                python = f"({of(left)} {_COMPARISONS[op]} {of(right)})"
            case nodes.Filter(name="join", node=items, args=[glue], kwargs=[]):
                python = f"{of(glue)}.join(map(str, {of(items)}))"
            case nodes.Filter(name="length", node=items, args=[], kwargs=[]):
                python = f"len({of(items)})"
            case _:
                raise self.unknown(node, getattr(node, "name", type(node).__name__))
        return python

    def unknown(self, node: nodes.Node, what: str) -> jinja2.TemplateSyntaxError:
        """Say that something is not known here."""
        return jinja2.TemplateSyntaxError(f"{what} cannot be translated", node.lineno, self.file, self.file)


def _local(name: str) -> str:
    return f"_{name}_"  # not a keyword, nor one of Python's own names


def _indented(lines: Iterable[str]) -> str:
    return "\n".join(f"    {line}" for text in lines for line in text.splitlines())


if __name__ == "__main__":
    sys.stdout.write(translate(Path(sys.argv[1])))
