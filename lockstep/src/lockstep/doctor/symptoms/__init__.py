"""Every symptom that is known, causes before what follows from them."""

from lockstep.doctor.symptoms import chain, connecting, files, models, rows

SYMPTOMS = (
    *connecting.SYMPTOMS,
    *rows.SYMPTOMS,
    *files.SYMPTOMS,
    *models.SYMPTOMS,
    *chain.SYMPTOMS,
)
