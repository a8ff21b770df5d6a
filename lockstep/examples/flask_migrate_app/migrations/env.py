from flask import current_app

import lockstep

migrate = current_app.extensions["migrate"]
lockstep.run(
    connection=migrate.db.engine,
    target_metadata=migrate.db.metadata,
    **migrate.configure_args,
)
