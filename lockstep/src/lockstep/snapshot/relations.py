"""Catalog queries for tables, views, sequences and composite types, and for what belongs to them.

Each gives (object, part, value). They read the catalog of PostgreSQL 15 to 18 and give the same there; names
that the catalog prints are qualified where search_path is empty.
"""

from __future__ import annotations

#: What a snapshot is not of: the members of extensions, and the schemas of PostgreSQL and of Lockstep.
SCHEMAS = """
WITH member AS MATERIALIZED (
    SELECT classid, objid FROM pg_depend WHERE deptype = 'e'
), space AS MATERIALIZED (
    SELECT oid, nspname FROM pg_namespace
    WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'lockstep', 'lockstep_archive')
)
"""

#: Nor is it of the version table.
_MINE = f"""{SCHEMAS}, relation AS MATERIALIZED (
    SELECT c.*, CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'S' THEN 'sequence'
                WHEN 'c' THEN 'type' WHEN 'f' THEN 'foreign table' ELSE 'table' END
           || ' ' || format('%I.%I', s.nspname, c.relname) AS object
    FROM pg_class c JOIN space s ON s.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm', 'S', 'c')
      AND NOT EXISTS (SELECT FROM member WHERE classid = 'pg_class'::regclass AND objid = c.oid)
      AND c.oid <> ALL (%(without)s::oid[])
)
"""

_EXISTS = "SELECT object, '' AS part, '' AS value FROM relation"

_TABLES = """
SELECT object, part, value FROM relation c
CROSS JOIN LATERAL (VALUES
    ('partition key', CASE WHEN relkind = 'p' THEN pg_get_partkeydef(c.oid) END),
    ('partition of', CASE WHEN relispartition THEN (
        SELECT inhparent::regclass::text || ' ' || pg_get_expr(c.relpartbound, c.oid)
        FROM pg_inherits WHERE inhrelid = c.oid) END),
    ('inherits', CASE WHEN NOT relispartition THEN (
        SELECT string_agg(inhparent::regclass::text, ', ' ORDER BY inhseqno)
        FROM pg_inherits WHERE inhrelid = c.oid) END),
    ('persistence', CASE WHEN relpersistence = 'u' THEN 'unlogged' END),
    ('options', array_to_string(reloptions, ', ')),
    ('row security', CASE WHEN relrowsecurity AND relforcerowsecurity THEN 'enabled, forced'
                          WHEN relrowsecurity THEN 'enabled' WHEN relforcerowsecurity THEN 'forced' END),
    ('replica identity', CASE WHEN relkind IN ('r', 'p') THEN CASE relreplident
        WHEN 'f' THEN 'full' WHEN 'n' THEN 'nothing' WHEN 'i' THEN (
        SELECT 'using ' || i.indexrelid::regclass FROM pg_index i
        WHERE i.indrelid = c.oid AND i.indisreplident) END END),
    ('clustered on', (SELECT i.indexrelid::regclass::text FROM pg_index i
                      WHERE i.indrelid = c.oid AND i.indisclustered)),
    ('access method', CASE WHEN relkind IN ('r', 'p', 'm') THEN (
        SELECT nullif(amname, 'heap') FROM pg_am WHERE oid = c.relam) END),
    ('of type', nullif(reloftype, 0)::regtype::text)
) AS of_table (part, value) WHERE value <> ''
"""

#: pg_attver is no setting: the minor releases since 15.20 keep a column's version there.
_COLUMNS = """
SELECT object, 'column ' || quote_ident(attname) AS part,
    format_type(atttypid, atttypmod)
    || CASE WHEN attcollation <> typcollation AND attcollation <> 0
            THEN ', collate ' || attcollation::regcollation ELSE '' END
    || CASE WHEN attnotnull THEN ', not null' ELSE '' END
    || CASE attidentity WHEN 'a' THEN ', identity always' WHEN 'd' THEN ', identity by default' ELSE '' END
    || CASE WHEN c.relkind NOT IN ('r', 'p', 'm') OR attstorage = typstorage THEN ''
            ELSE ', storage ' || CASE attstorage WHEN 'p' THEN 'plain' WHEN 'e' THEN 'external'
                                      WHEN 'm' THEN 'main' ELSE 'extended' END END
    || CASE attcompression WHEN 'p' THEN ', compression pglz' WHEN 'l' THEN ', compression lz4' ELSE '' END
    || CASE WHEN attstattarget >= 0 THEN ', statistics ' || attstattarget ELSE '' END
    || coalesce(', options ' || (
        SELECT string_agg(o, ' ') FROM unnest(attoptions || attfdwoptions) o
        WHERE NOT starts_with(o, 'pg_attver=')), '')
    || CASE WHEN d.oid IS NULL THEN ''
            ELSE CASE attgenerated WHEN '' THEN ', default ' WHEN 's' THEN ', generated stored as '
                      ELSE ', generated as ' END || pg_get_expr(adbin, adrelid) END AS value
FROM relation c JOIN pg_attribute a ON a.attrelid = c.oid AND attnum > 0 AND NOT attisdropped
JOIN pg_type t ON t.oid = atttypid
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = attnum
WHERE c.relkind <> 'S'
"""

#: Without NOT NULL, which PostgreSQL 18 has here as well: it stands with the column.
_CONSTRAINTS = """
SELECT object, 'constraint ' || quote_ident(conname) AS part,
    pg_get_constraintdef(k.oid) || coalesce(' with ' || array_to_string(i.reloptions, ', '), '') AS value
FROM relation c JOIN pg_constraint k ON k.conrelid = c.oid
LEFT JOIN pg_class i ON i.oid = k.conindid AND k.contype IN ('p', 'u', 'x')
WHERE k.contype IN ('p', 'u', 'x', 'c', 'f') AND k.conparentid = 0
"""

_INDEXES = """
SELECT object, 'index ' || quote_ident(k.relname) AS part,
    CASE WHEN i.indisvalid THEN '' ELSE 'INVALID ' END || pg_get_indexdef(i.indexrelid) AS value
FROM relation c JOIN pg_index i ON i.indrelid = c.oid JOIN pg_class k ON k.oid = i.indexrelid
WHERE NOT k.relispartition
  AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = k.oid AND contype IN ('p', 'u', 'x'))
UNION ALL
SELECT object, 'index ' || quote_ident(k.relname), 'INVALID'
FROM relation c JOIN pg_index i ON i.indrelid = c.oid JOIN pg_class k ON k.oid = i.indexrelid
WHERE NOT k.relispartition AND NOT i.indisvalid
  AND EXISTS (SELECT FROM pg_constraint WHERE conindid = k.oid AND contype IN ('p', 'u', 'x'))
"""

_TRIGGERS = """
SELECT object, 'trigger ' || quote_ident(tgname) AS part,
    CASE tgenabled WHEN 'D' THEN 'disabled ' WHEN 'R' THEN 'enabled replica '
                   WHEN 'A' THEN 'enabled always ' ELSE '' END || pg_get_triggerdef(t.oid) AS value
FROM relation c JOIN pg_trigger t ON t.tgrelid = c.oid WHERE NOT tgisinternal AND tgparentid = 0
"""

_RULES = """
SELECT object, 'rule ' || quote_ident(rulename) AS part,
    CASE ev_enabled WHEN 'D' THEN 'disabled ' WHEN 'R' THEN 'enabled replica '
                    WHEN 'A' THEN 'enabled always ' ELSE '' END || pg_get_ruledef(r.oid) AS value
FROM relation c JOIN pg_rewrite r ON r.ev_class = c.oid WHERE rulename <> '_RETURN'
"""

_POLICIES = """
SELECT object, 'policy ' || quote_ident(polname) AS part,
    CASE WHEN polpermissive THEN 'permissive' ELSE 'restrictive' END
    || ' for ' || CASE polcmd WHEN 'r' THEN 'select' WHEN 'a' THEN 'insert' WHEN 'w' THEN 'update'
                              WHEN 'd' THEN 'delete' ELSE 'all' END
    || ' to ' || (SELECT string_agg(CASE r WHEN 0 THEN 'public' ELSE quote_ident(pg_get_userbyid(r)) END, ', '
                                    ORDER BY pg_get_userbyid(r)) FROM unnest(polroles) r)
    || coalesce(' using (' || pg_get_expr(polqual, polrelid) || ')', '')
    || coalesce(' with check (' || pg_get_expr(polwithcheck, polrelid) || ')', '') AS value
FROM relation c JOIN pg_policy p ON p.polrelid = c.oid
"""

_STATISTICS = """
SELECT object, 'statistics ' || s.stxnamespace::regnamespace || '.' || quote_ident(stxname) AS part,
    pg_get_statisticsobjdef(s.oid) AS value
FROM relation c JOIN pg_statistic_ext s ON s.stxrelid = c.oid
"""

_VIEWS = """
SELECT object, 'definition' AS part, rtrim(pg_get_viewdef(oid), ';') AS value
FROM relation WHERE relkind IN ('v', 'm')
UNION ALL
SELECT object, 'data', 'none' FROM relation WHERE relkind = 'm' AND NOT relispopulated
"""

_SEQUENCES = """
SELECT object, part, value FROM relation c JOIN pg_sequence q ON q.seqrelid = c.oid
CROSS JOIN LATERAL (
    SELECT refobjid::regclass || '.' || quote_ident(attname) AS name, deptype
    FROM pg_depend JOIN pg_attribute ON attrelid = refobjid AND attnum = refobjsubid
    WHERE classid = 'pg_class'::regclass AND objid = c.oid AND deptype IN ('a', 'i')
    UNION ALL SELECT NULL, NULL LIMIT 1
) AS owner
CROSS JOIN LATERAL (VALUES
    ('range', format('%s from %s by %s, %s to %s, cache %s%s', format_type(seqtypid, NULL), seqstart,
        seqincrement, seqmin, seqmax, seqcache, CASE WHEN seqcycle THEN ', cycle' ELSE '' END)),
    (CASE deptype WHEN 'i' THEN 'identity of' ELSE 'owned by' END, owner.name)
) AS of_sequence (part, value) WHERE value IS NOT NULL
"""

_COMMENTS = """
SELECT object, 'comment' || coalesce(' on ' || part, '') AS part, quote_literal(description) AS value FROM (
    SELECT object, NULL AS part, 'pg_class'::regclass AS classoid, oid AS objoid, 0 AS objsubid FROM relation
    UNION ALL SELECT object, 'column ' || quote_ident(attname), 'pg_class'::regclass, c.oid, attnum
    FROM relation c JOIN pg_attribute ON attrelid = c.oid WHERE attnum > 0
    UNION ALL SELECT object, 'constraint ' || quote_ident(conname), 'pg_constraint'::regclass, k.oid, 0
    FROM relation c JOIN pg_constraint k ON k.conrelid = c.oid
    UNION ALL SELECT object, 'index ' || quote_ident(k.relname), 'pg_class'::regclass, k.oid, 0
    FROM relation c JOIN pg_index i ON i.indrelid = c.oid JOIN pg_class k ON k.oid = i.indexrelid
    UNION ALL SELECT object, 'trigger ' || quote_ident(tgname), 'pg_trigger'::regclass, t.oid, 0
    FROM relation c JOIN pg_trigger t ON t.tgrelid = c.oid WHERE NOT tgisinternal
    UNION ALL SELECT object, 'policy ' || quote_ident(polname), 'pg_policy'::regclass, p.oid, 0
    FROM relation c JOIN pg_policy p ON p.polrelid = c.oid
    UNION ALL SELECT object, 'rule ' || quote_ident(rulename), 'pg_rewrite'::regclass, r.oid, 0
    FROM relation c JOIN pg_rewrite r ON r.ev_class = c.oid
    UNION ALL SELECT object, 'statistics ' || quote_ident(stxname), 'pg_statistic_ext'::regclass, s.oid, 0
    FROM relation c JOIN pg_statistic_ext s ON s.stxrelid = c.oid
) AS commented JOIN pg_description USING (classoid, objoid, objsubid)
"""

_GRANTS = """
SELECT object, part, value FROM (
    SELECT object, relowner, NULL AS named, relacl AS acl,
           acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner) AS usual
    FROM relation WHERE relkind <> 'c'
    UNION ALL
    SELECT object, relowner, quote_ident(attname), attacl, NULL
    FROM relation c JOIN pg_attribute ON attrelid = c.oid WHERE attacl IS NOT NULL AND NOT attisdropped
) AS granted CROSS JOIN LATERAL (__DIFFERENCE__) AS difference
"""

#: What was granted, and what was taken away of what is usual. MAINTAIN, which PostgreSQL 17 brought, is left
#: out. Whoever owns the object is called its owner: the role's name is this database's affair.
GRANTED = """
    SELECT kind || ' ' || coalesce('(' || named || ') ', '')
           || CASE grantee WHEN 0 THEN 'public' WHEN __OWNER__ THEN 'owner'
                   ELSE quote_ident(pg_get_userbyid(grantee)) END AS part,
           string_agg(privilege_type || CASE WHEN is_grantable THEN ' with grant option' ELSE '' END, ', '
                      ORDER BY privilege_type) AS value
    FROM (
        SELECT 'granted to' AS kind, grantee, privilege_type, is_grantable FROM (
            SELECT grantee, privilege_type, is_grantable FROM aclexplode(nullif(coalesce(acl, usual), '{}'))
            EXCEPT SELECT grantee, privilege_type, is_grantable FROM aclexplode(usual)) AS more
        UNION ALL
        SELECT 'taken from', grantee, privilege_type, is_grantable FROM (
            SELECT grantee, privilege_type, is_grantable FROM aclexplode(usual)
            EXCEPT SELECT grantee, privilege_type, is_grantable
            FROM aclexplode(nullif(coalesce(acl, usual), '{}'))) AS less
    ) AS rights WHERE privilege_type <> 'MAINTAIN' GROUP BY kind, grantee
"""

QUERIES = tuple(
    _MINE + query
    for query in (
        _EXISTS, _TABLES, _COLUMNS, _CONSTRAINTS, _INDEXES, _TRIGGERS, _RULES, _POLICIES, _STATISTICS, _VIEWS,
        _SEQUENCES, _COMMENTS,
        _GRANTS.replace("__DIFFERENCE__", GRANTED.replace("__OWNER__", "relowner")),
    )
)  # fmt: skip
