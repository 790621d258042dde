"""What a worker can be asked to do: name -> function(arguments, session), imported where it is done."""

WORK = {
    "apply": "GANSynthesisLib.jobs.apply:apply_job",
    "generate": "GANSynthesisLib.jobs.apply:generate_job",
    "train": "GANSynthesisLib.jobs.train:train_job",
    "systems": "GANSynthesisLib.jobs.train:systems_job",
    "inspect": "GANSynthesisLib.jobs.train:inspect_job",
    "evaluate": "GANSynthesisLib.jobs.evaluate:evaluate_job",
    "batch": "GANSynthesisLib.jobs.batch:batch_job",
    "checkerboard": "GANSynthesisLib.jobs.looking:checkerboard_job",
    "difference": "GANSynthesisLib.jobs.looking:difference_job",
    "surfaces": "GANSynthesisLib.jobs.looking:surfaces_job",
    "card": "GANSynthesisLib.jobs.files:card_job",
    "case file": "GANSynthesisLib.jobs.files:case_file_job",
}
