import os

import lockstep

lockstep.run(url=os.environ["DATABASE_URL"])
