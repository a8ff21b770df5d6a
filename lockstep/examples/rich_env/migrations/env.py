from database import engine
from models import metadata
from options import include_object, no_empty_revision, render_item

import lockstep

lockstep.run(
    connection=engine,
    target_metadata=metadata,
    include_schemas=True,
    version_table_schema="app",
    include_object=include_object,
    compare_type=True,
    render_item=render_item,
    process_revision_directives=no_empty_revision,
)
