"""What env.py gives to Alembic."""

from models import Money


def include_object(found, name, kind, reflected, compared):
    return not (kind == "table" and name.startswith("old_"))


def render_item(kind, found, autogen_context):
    if kind == "type" and isinstance(found, Money):
        autogen_context.imports.add("from models import Money")
        return "Money()"
    return False


def no_empty_revision(context, revision, directives):
    if directives[0].upgrade_ops.is_empty():
        directives[:] = []
