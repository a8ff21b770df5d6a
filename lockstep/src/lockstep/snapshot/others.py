"""Catalog queries for schemas, types, functions and whatever else a revision may create.

Each gives (object, part, value), as those of relations.py do.
"""

from __future__ import annotations

from lockstep.snapshot.relations import GRANTED, SCHEMAS

_MINE = f"""{SCHEMAS}, type AS MATERIALIZED (
    SELECT t.*, CASE typtype WHEN 'd' THEN 'domain ' ELSE 'type ' END
           || format('%I.%I', s.nspname, typname) AS object
    FROM pg_type t JOIN space s ON s.oid = typnamespace
    WHERE typtype IN ('e', 'd', 'r')
      AND NOT EXISTS (SELECT FROM member WHERE classid = 'pg_type'::regclass AND objid = t.oid)
), function AS MATERIALIZED (
    SELECT p.*, CASE prokind WHEN 'p' THEN 'procedure ' WHEN 'a' THEN 'aggregate ' ELSE 'function ' END
           || format('%I.%I(%s)', s.nspname, proname, oidvectortypes(proargtypes)) AS object
    FROM pg_proc p JOIN space s ON s.oid = pronamespace
    WHERE NOT EXISTS (SELECT FROM member WHERE classid = 'pg_proc'::regclass AND objid = p.oid)
      AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_proc'::regclass AND objid = p.oid
                      AND deptype = 'i')
)
"""

_SCHEMAS = "SELECT 'schema ' || quote_ident(nspname) AS object, '' AS part, '' AS value FROM space"

_EXTENSIONS = """
SELECT 'extension ' || quote_ident(extname) AS object, 'schema' AS part,
    extnamespace::regnamespace::text AS value
FROM pg_extension WHERE extname <> 'plpgsql'
"""

_TYPES = """
SELECT object, part, value FROM type t
CROSS JOIN LATERAL (
    SELECT 'values' AS part, string_agg(quote_literal(enumlabel), ', ' ORDER BY enumsortorder) AS value
    FROM pg_enum WHERE enumtypid = t.oid AND typtype = 'e'
    UNION ALL
    SELECT of_domain.part, of_domain.value FROM (VALUES
        ('type', format_type(typbasetype, typtypmod)
            || CASE WHEN typcollation NOT IN (0, (SELECT typcollation FROM pg_type WHERE oid = t.typbasetype))
                    THEN ', collate ' || typcollation::regcollation ELSE '' END
            || CASE WHEN typnotnull THEN ', not null' ELSE '' END),
        ('default', typdefault)) AS of_domain (part, value) WHERE typtype = 'd'
    UNION ALL
    SELECT 'constraint ' || quote_ident(conname), pg_get_constraintdef(k.oid)
    FROM pg_constraint k WHERE contypid = t.oid AND contype = 'c'
    UNION ALL
    SELECT 'range of', format_type(rngsubtype, NULL)
        || CASE WHEN rngcollation = 0 THEN '' ELSE ', collate ' || rngcollation::regcollation END
        || CASE WHEN rngcanonical = 0 THEN '' ELSE ', canonical ' || rngcanonical END
        || CASE WHEN rngsubdiff = 0 THEN '' ELSE ', subtype_diff ' || rngsubdiff END
    FROM pg_range WHERE rngtypid = t.oid
) AS of_type WHERE value IS NOT NULL
UNION ALL SELECT object, '', '' FROM type
"""

_FUNCTIONS = """
SELECT object, 'definition' AS part, pg_get_functiondef(oid) AS value FROM function WHERE prokind <> 'a'
UNION ALL
SELECT object, 'definition', format('%s state %s%s%s', aggtransfn, format_type(aggtranstype, NULL),
    CASE WHEN aggfinalfn = 0 THEN '' ELSE ' final ' || aggfinalfn END,
    coalesce(' from ' || quote_literal(agginitval), ''))
FROM function f JOIN pg_aggregate g ON g.aggfnoid = f.oid
"""

_PUBLICATIONS = """
SELECT 'publication ' || quote_ident(pubname) AS object, 'of' AS part,
    CASE WHEN puballtables THEN 'all tables' ELSE coalesce((
        SELECT string_agg(listed, ', ' ORDER BY listed) FROM (
            SELECT prrelid::regclass || coalesce(' where ' || pg_get_expr(prqual, prrelid), '')
                || coalesce(' columns ' || prattrs::text, '') AS listed
            FROM pg_publication_rel WHERE prpubid = p.oid
            UNION ALL SELECT 'schema ' || pnnspid::regnamespace
            FROM pg_publication_namespace WHERE pnpubid = p.oid) AS each), 'nothing') END
    || '; ' || concat_ws(', ', CASE WHEN pubinsert THEN 'insert' END, CASE WHEN pubupdate THEN 'update' END,
        CASE WHEN pubdelete THEN 'delete' END, CASE WHEN pubtruncate THEN 'truncate' END)
    || CASE WHEN pubviaroot THEN '; via root' ELSE '' END AS value
FROM pg_publication p
"""

_EVENT_TRIGGERS = """
SELECT 'event trigger ' || quote_ident(evtname) AS object, 'on' AS part,
    format('%s%s executes %s%s', evtevent, coalesce(' ' || evttags::text, ''), evtfoid::regproc,
        CASE evtenabled WHEN 'O' THEN '' WHEN 'D' THEN ', disabled' WHEN 'R' THEN ', replica'
             ELSE ', always' END) AS value
FROM pg_event_trigger t
WHERE NOT EXISTS (SELECT FROM member WHERE classid = 'pg_event_trigger'::regclass AND objid = t.oid)
"""

_DEFAULT_PRIVILEGES = """
SELECT 'default privileges '
    || coalesce('in schema ' || nullif(defaclnamespace, 0)::regnamespace, 'everywhere') AS object,
    CASE defaclobjtype WHEN 'r' THEN 'tables' WHEN 'S' THEN 'sequences' WHEN 'f' THEN 'functions'
         WHEN 'T' THEN 'types' WHEN 'n' THEN 'schemas' ELSE 'large objects' END
    || ' of ' || quote_ident(pg_get_userbyid(defaclrole)) AS part,
    (SELECT string_agg(told, ', ' ORDER BY told) FROM (
        SELECT privilege_type || ' to ' || CASE grantee WHEN 0 THEN 'public' ELSE
            quote_ident(pg_get_userbyid(grantee)) END AS told
        FROM aclexplode(defaclacl) WHERE privilege_type <> 'MAINTAIN') AS each) AS value
FROM pg_default_acl
WHERE defaclnamespace = 0 OR defaclnamespace IN (SELECT oid FROM space)
"""

#: Whatever has an identity and no query of its own: only that it is there.
_FURTHER = """
SELECT found.type || ' ' || found.identity AS object, '' AS part, '' AS value FROM (
    SELECT 'pg_collation'::regclass AS class, oid FROM pg_collation
    UNION ALL SELECT 'pg_conversion'::regclass, oid FROM pg_conversion
    UNION ALL SELECT 'pg_operator'::regclass, oid FROM pg_operator
    UNION ALL SELECT 'pg_opclass'::regclass, oid FROM pg_opclass
    UNION ALL SELECT 'pg_cast'::regclass, oid FROM pg_cast
    UNION ALL SELECT 'pg_language'::regclass, oid FROM pg_language
    UNION ALL SELECT 'pg_am'::regclass, oid FROM pg_am
    UNION ALL SELECT 'pg_ts_config'::regclass, oid FROM pg_ts_config
    UNION ALL SELECT 'pg_ts_dict'::regclass, oid FROM pg_ts_dict
    UNION ALL SELECT 'pg_foreign_data_wrapper'::regclass, oid FROM pg_foreign_data_wrapper
    UNION ALL SELECT 'pg_foreign_server'::regclass, oid FROM pg_foreign_server
) AS each CROSS JOIN LATERAL pg_identify_object(class, oid, 0) AS found
WHERE oid >= 16384 AND NOT EXISTS (SELECT FROM member WHERE classid = class AND objid = oid)
"""

_COMMENTS = """
SELECT object, 'comment' AS part, quote_literal(description) AS value FROM (
    SELECT 'schema ' || quote_ident(nspname) AS object, 'pg_namespace'::regclass AS classoid, oid AS objoid
    FROM space
    UNION ALL SELECT object, 'pg_type'::regclass, oid FROM type
    UNION ALL SELECT object, 'pg_proc'::regclass, oid FROM function
) AS commented JOIN pg_description USING (classoid, objoid) WHERE objsubid = 0
"""

_GRANTS = """
SELECT object, part, value FROM (
    SELECT 'schema ' || quote_ident(n.nspname) AS object, nspowner AS owner, NULL AS named, nspacl AS acl,
           acldefault('n', nspowner) AS usual
    FROM space s JOIN pg_namespace n USING (oid)
    UNION ALL SELECT object, typowner, NULL, typacl, acldefault('T', typowner) FROM type
    UNION ALL SELECT object, proowner, NULL, proacl, acldefault('f', proowner) FROM function
) AS granted CROSS JOIN LATERAL (__DIFFERENCE__) AS difference
"""

QUERIES = tuple(
    _MINE + query
    for query in (
        _SCHEMAS, _EXTENSIONS, _TYPES, _FUNCTIONS, _PUBLICATIONS, _EVENT_TRIGGERS, _DEFAULT_PRIVILEGES,
        _FURTHER, _COMMENTS, _GRANTS.replace("__DIFFERENCE__", GRANTED.replace("__OWNER__", "owner")),
    )
)  # fmt: skip
