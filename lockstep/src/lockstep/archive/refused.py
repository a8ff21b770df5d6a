"""A kept row that cannot be given back stays where it is, with the reason beside it."""

from __future__ import annotations

from lockstep.archive.registry import block
from lockstep.postgres.catalog import literal, quote
from lockstep.steps.step import INSIDE

#: The column of a kept table that says why a row was not given back: NULL while that is open.
REASON = "lockstep_set_aside"

#: Which row has the key that another one wants: that of the index or constraint ``failed``, which the error
#: names; each part compared by its own operator (an exclusion constraint's) or for equality.
_IN_THE_WAY = """
    SELECT string_agg(format('%s AS k%s', pg_get_indexdef(i.indexrelid, n, false), n), ', '),
           string_agg(CASE WHEN k.contype = 'x'
               THEN format('there.k%s OPERATOR(%s.%s) gone.k%1$s', n, quote_ident(s.nspname), o.oprname)
               ELSE format('there.k%s IS NOT DISTINCT FROM gone.k%1$s', n) END, ' AND '),
           coalesce(' WHERE ' || min(pg_get_expr(i.indpred, i.indrelid)), '')
    INTO keys, alike, predicate
    FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid
    CROSS JOIN LATERAL generate_series(1, i.indnkeyatts) n
    LEFT JOIN pg_constraint k ON k.conindid = i.indexrelid AND k.contype = 'x'
    LEFT JOIN pg_operator o ON o.oid = k.conexclop[n]
    LEFT JOIN pg_namespace s ON s.oid = o.oprnamespace
    WHERE c.relname = failed AND c.relnamespace = to_regnamespace(quote_ident(in_schema));
    EXECUTE format(
        'SELECT there.r, there.whole = gone.whole '
        'FROM (SELECT to_jsonb(lockstep_row)::text AS r, ROW(%1$s)::text AS whole, %2$s '
        'FROM %3$s AS lockstep_row%4$s) there '
        'JOIN (SELECT ROW(%1$s)::text AS whole, %2$s FROM (SELECT %5$s FROM %6$s AS source '
        'WHERE source.ctid = %7$L) AS lockstep_row) gone ON %8$s LIMIT 1',
        {names}, keys, {table}, predicate, {values}, {kept}, place, alike) INTO in_the_way, same;
"""

_ONE_BY_ONE = """
#variable_conflict use_column
DECLARE
    place tid;
    moved integer := 0;
    changed integer;
    state text;
    message text;
    detail text;
    failed text;
    in_schema text;
    keys text;
    alike text;
    predicate text;
    in_the_way text;
    same boolean;
BEGIN
    FOR place IN SELECT ctid FROM {kept_sql} AS source WHERE {inside} AND {reason} IS NULL LOOP
        BEGIN
            {insert} WHERE source.ctid = place{parents};
            GET DIAGNOSTICS changed = ROW_COUNT;
            IF changed > 0 THEN
                DELETE FROM {kept_sql} AS source WHERE source.ctid = place;
                moved := moved + 1;
            END IF;
        EXCEPTION WHEN OTHERS THEN
            GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
                detail = PG_EXCEPTION_DETAIL, failed = CONSTRAINT_NAME, in_schema = SCHEMA_NAME;
            IF left(state, 2) NOT IN ('22', '23', '42', '44', 'P0') THEN
                RAISE;
            END IF;
            in_the_way := NULL;
            same := false;
            IF state IN ('23505', '23P01') THEN
                BEGIN
                    {in_the_way}
                EXCEPTION WHEN data_exception OR syntax_error_or_access_rule_violation THEN
                    NULL;  -- the key is made of what was not kept
                END;
            END IF;
            IF same THEN  -- the row itself: it is back
                DELETE FROM {kept_sql} AS source WHERE source.ctid = place;
                moved := moved + 1;
            ELSE
                UPDATE {kept_sql} AS source SET {reason} = concat_ws(
                    ' ', message || '.', nullif(detail, ''), 'In its way: ' || in_the_way)
                WHERE source.ctid = place;
            END IF;
        END;
    END LOOP;
    PERFORM set_config('lockstep.moved', moved::text, false);
END
"""


def one_by_one(kept: str, table: str, names: str, values: str, insert: str, parents: str) -> str:
    """A DO statement that gives back the rows of ``kept`` of a batch one by one.

    ``insert`` inserts the row ``source``, which ``parents`` must let through. A row that is there already,
    the same in every column, is taken as given back; another one gets its reason.
    """
    in_the_way = _IN_THE_WAY.format(
        names=literal(names), table=literal(table), values=literal(values), kept=literal(kept)
    )
    return block(
        _ONE_BY_ONE.format(
            kept_sql=kept, inside=INSIDE, reason=quote(REASON), insert=insert, parents=parents,
            in_the_way=in_the_way,
        )
    )  # fmt: skip
