"""Chains of revisions in the manners of large open-source projects, from nothing to a schema with rows."""

from __future__ import annotations

import sqlalchemy as sa

from history_dashboard import DASHBOARD
from history_index import INDEX
from history_scheduler import SCHEDULER

NAMED = sa.MetaData(
    naming_convention={
        "ix": "idx_%(table_name)s_%(column_0_N_name)s",
        "uq": "%(table_name)s_%(column_0_N_name)s_uq",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        "pk": "%(table_name)s_pkey",
    }
)

HISTORIES = {"scheduler": SCHEDULER, "dashboard": DASHBOARD, "index": INDEX}
