import os

from models import include_object, metadata

import lockstep

lockstep.run(
    url=os.environ["DATABASE_URL"],
    target_metadata=metadata,
    include_schemas=True,
    include_object=include_object,
    version_table_schema="app",
)
