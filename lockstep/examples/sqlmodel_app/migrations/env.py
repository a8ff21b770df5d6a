import os

from models import SQLModel

import lockstep

lockstep.run(url=os.environ["DATABASE_URL"], target_metadata=SQLModel.metadata)
