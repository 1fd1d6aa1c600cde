"""What a model card says in words: about the data sets, about every model here, and what no file can tell."""

USE = (
    "Research on the classification of breath sounds, and comparison of methods under one protocol. Not for diagnosis, "
    "triage, monitoring or any decision about a person: no such use was studied."
)
NOT_KNOWN = "Nothing is known here about this data set beyond its annotations."
ABOUT_DATA = {
    "icbhi": (
        "ICBHI 2017 (Rocha et al. 2019, Physiol. Meas. 40 035001): 920 recordings of 126 people, adults and children, "
        "four devices, by two research teams. Setting, recruitment and annotators: see there."
    ),
    "sprsound": (
        "SPRSound, BioCAS 2022 release (Zhang et al. 2022, IEEE TBioCAS 16(5)): children of one hospital, one "
        "electronic stethoscope. Setting, recruitment and annotators: see there."
    ),
    "synthetic": "Synthetic breath sounds made by auscult: there is no patient behind any number.",
}
LIMITS = {
    "icbhi": (
        "The official split has no test cycle of one training device (LittC2SE), and a device with 1 % of the training "
        "cycles has 17 % of the test cycles (Litt3200).",
    ),
    "sprsound": (
        "Rare classes have 1 to 15 test events: a recall on them is an anecdote.",
        "The patients of part intra are all in the training part, on purpose: its scores are on people already heard.",
    ),
    "synthetic": ("These scores say nothing about real lungs.",),
    "all": (
        "Labels are the opinion of one or a few listeners of one sound; listeners disagree.",
        "A model learns its devices: expect less on others.",
        "Cycles were cut by annotators; finding them in a recording is not part of the task.",
        "One run of one seed: seeds differ, see a study for how much.",
    ),
}
UNFILLED = {
    "2": "abstract",
    "3a, 3c": "health care context; known health inequalities",
    "5b": "dates of recruitment and recording",
    "6b, 6c": "eligibility; treatments received",
    "8b, 8c": "who assessed the outcome, and what they knew: see the publication of the data set",
    "9a, 9c": "how predictors were chosen before the model was built; the judgement of people in them",
    "12d": "differences between centres, which the files do not name",
    "12f, 24": "updating of the model: none was done",
    "17": "ethical approval: see the publication of the data set",
    "18a, 18b, 18c, 18d": "funding, conflicts of interest, protocol, registration",
    "19": "involvement of patients and the public",
    "25": "interpretation in the light of other studies",
    "27a, 27b, 27c": "use in practice: poor input, skill of users, next steps",
}
