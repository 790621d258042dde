"""What a worker can be asked to do: name -> function(arguments, session), imported where it is done."""

WORK = {
    "apply": "GANSynthesisLib.jobs.apply:apply_job",
    "generate": "GANSynthesisLib.jobs.apply:generate_job",
    "train": "GANSynthesisLib.jobs.train:train_job",
    "systems": "GANSynthesisLib.jobs.train:systems_job",
    "inspect": "GANSynthesisLib.jobs.train:inspect_job",
    "evaluate": "GANSynthesisLib.jobs.evaluate:evaluate_job",
    "batch": "GANSynthesisLib.jobs.batch:batch_job",
}
