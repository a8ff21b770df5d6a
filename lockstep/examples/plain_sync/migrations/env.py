import os

from models import metadata

import lockstep

lockstep.run(url=os.environ["DATABASE_URL"], target_metadata=metadata)
