"""Names in a statement: which of its relations are models, and which are its own (WITH).

Its own get names that nobody else has. So it does not matter whether this module and PostgreSQL would agree on what a
name means somewhere: a name that is taken for one of the statement's own can never be read as a table.
"""

from __future__ import annotations

from sqlglot import exp


def named_apart(tree: exp.Expr) -> tuple[frozenset[tuple[str, bool]], dict[str, str]]:
    """Rename the statement's own relations, in place; answers the models that it names, and whether with quotes, and
    what its own relations were called, by what they are called now.

    After it, a ``Table`` of the tree is a relation of its own where its ``meta`` says ``own``, else a model.
    """
    naming = _Naming()
    naming.visit(tree, {})
    return frozenset(naming.models), naming.called


class _Naming:
    def __init__(self) -> None:
        self.models: set[tuple[str, bool]] = set()
        self.called: dict[str, str] = {}

    def visit(self, node: exp.Expr, own: dict[str, str]) -> None:
        """Walk down with the relations that are known at this place."""
        with_ = node.args.get("with_")
        if with_ is not None:
            own = self._declared(with_, own)
        if isinstance(node, exp.Table) and isinstance(node.this, exp.Identifier):
            self._name(node, own)
        for each in node.iter_expressions():
            if each is not with_:
                self.visit(each, own)

    def _declared(self, with_: exp.With, own: dict[str, str]) -> dict[str, str]:
        """What is known after a WITH; each of its queries knows those before it, and with RECURSIVE all of them."""
        names = [(each, each.alias, self._new(each.alias)) for each in with_.expressions]
        known = dict(own)
        if with_.args.get("recursive"):
            known |= {name: new for _, name, new in names}
        for each, name, new in names:
            self.visit(each.this, known)
            known = known | {name: new}
            each.args["alias"].set("this", exp.to_identifier(new, quoted=True))
        return known

    def _new(self, name: str) -> str:
        new = f"own {len(self.called) + 1}"
        self.called[new] = name
        return new

    def _name(self, table: exp.Table, own: dict[str, str]) -> None:
        name, is_quoted = table.name, not table.this.meta.get("unquoted", False)
        if name not in own:
            self.models.add((name, is_quoted))
            return
        if not table.alias:
            table.set("alias", exp.TableAlias(this=exp.to_identifier(name, quoted=True)))
        table.set("this", exp.to_identifier(own[name], quoted=True))
        table.meta["own"] = True
