from program import engine

import lockstep

lockstep.run(connection=engine)
