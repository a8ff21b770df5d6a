"""A history of ordinary revisions, as a project has after some years."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What ten revisions in a row do; ``{n}`` is how many tens came before.
_TEN = (
    """
    op.create_table('account{n}',
        sa.Column('id', sa.Integer(), primary_key=True),
        sa.Column('email', sa.String(200), nullable=False),
        sa.Column('name', sa.String(50)),
        sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False))
    op.create_index('account{n}_email', 'account{n}', ['email'])
    """,
    """
    op.create_table('purchase{n}',
        sa.Column('id', sa.Integer(), primary_key=True),
        sa.Column('account_id', sa.Integer(), sa.ForeignKey('account{n}.id', ondelete='CASCADE')),
        sa.Column('amount', sa.Numeric(10, 2), nullable=False),
        sa.Column('note', sa.Text()))
    op.create_index('purchase{n}_account', 'purchase{n}', ['account_id'])
    op.create_index('purchase{n}_amount', 'purchase{n}', ['amount'])
    """,
    """
    op.add_column('purchase{n}', sa.Column('paid', sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column('account{n}', sa.Column('city', sa.String(80)))
    """,
    """
    accounts = sa.table('account{n}', sa.column('email', sa.String), sa.column('name', sa.String))
    op.bulk_insert(accounts, [
        {{'email': f'{{number}}@example.org', 'name': f'name {{number}}'}} for number in range(20)])
    op.execute("INSERT INTO purchase{n} (account_id, amount) SELECT id, 10 FROM account{n}")
    """,
    """
    op.execute("UPDATE account{n} SET city = 'somewhere' WHERE city IS NULL")
    op.alter_column('account{n}', 'city', existing_type=sa.String(80), nullable=False,
        server_default='somewhere')
    """,
    """
    op.create_unique_constraint('account{n}_email_once', 'account{n}', ['email'])
    op.create_check_constraint('purchase{n}_positive', 'purchase{n}', 'amount > 0')
    """,
    """
    op.alter_column('account{n}', 'name', existing_type=sa.String(50), type_=sa.Text())
    op.alter_column('purchase{n}', 'id', existing_type=sa.Integer(), type_=sa.BigInteger())
    """,
    """
    state = sa.Enum('open', 'sent', 'closed', name='state{n}')
    state.create(op.get_bind())
    op.add_column('purchase{n}', sa.Column('state', state, server_default='open', nullable=False))
    op.execute("UPDATE purchase{n} SET state = 'closed' WHERE paid")
    """,
    """
    op.create_table('address{n}',
        sa.Column('id', sa.Integer(), primary_key=True),
        sa.Column('account_id', sa.Integer(), nullable=False),
        sa.Column('city', sa.String(80), nullable=False))
    bind = op.get_bind()
    for row in bind.execute(sa.text('SELECT id, city FROM account{n}')).fetchall()[:5]:
        bind.execute(sa.text('INSERT INTO address{n} (account_id, city) VALUES (:id, :city)'),
            {{'id': row.id, 'city': row.city}})
    op.create_foreign_key('address{n}_account', 'address{n}', 'account{n}', ['account_id'], ['id'])
    """,
    """
    op.alter_column('purchase{n}', 'note', new_column_name='remark', existing_type=sa.Text())
    op.rename_table('address{n}', 'place{n}')
    op.drop_index('purchase{n}_amount', table_name='purchase{n}')
    op.drop_column('account{n}', 'name')
    """,
)


def revisions(count: int) -> Iterator[str]:
    """The bodies of so many ``upgrade()``."""
    for number in range(count):
        yield _TEN[number % 10].format(n=number // 10)
