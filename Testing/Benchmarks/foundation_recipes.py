"""How the benchmark of the adversarial foundations trains each method: settings and steps for a few minutes of one CPU
core, on MedNIST at 32²."""

from __future__ import annotations

COMMON = {
    "patch": "32,32", "intensity": "window:0:255", "validation_fraction": 0.1, "validate_every": 400,
    "checkpoint_every": 400, "anatomy": "hand, chest, breast, abdomen, head", "modality": "radiograph, CT or MR",
}
STRIDED = {**COMMON, "width": 16, "critic_width": 16, "learning_rate": 4e-4}
RESIDUAL = {**COMMON, "width": 8, "critic_width": 16, "batch": 32, "learning_rate": 4e-4}
CLASSES = "AbdomenCT,BreastMRI,CXR,ChestCT,Hand,HeadCT"

ENCODER = "classifier"  # which also judges images of a class and sees what the distances are measured by

# name of the model: system, settings, steps
RECIPES = {
    ENCODER: ("classifier", {**COMMON, "width": 16, "batch": 32, "validation_fraction": 0.2}, 300),
    "acgan": ("acgan", STRIDED, 1200),
    "infogan": ("infogan", {**STRIDED, "classes": CLASSES}, 800),
    "progressive": ("progressive", {
        **COMMON, "width": 8, "critic_width": 8, "batch": 16, "latent": 64, "ema": 0.995,
    }, 1600),
    "wgan": ("wgan", {**RESIDUAL, "critic_turns": 3}, 500),
    "gan-minimax": ("gan", {**RESIDUAL, "adversarial": "minimax"}, 600),
    "dcgan": ("dcgan", STRIDED, 900),
    "gan": ("gan", RESIDUAL, 600),
    "lsgan": ("lsgan", RESIDUAL, 600),
    "cgan": ("cgan", STRIDED, 900),
    "wgan-clipping": ("wgan", {
        **RESIDUAL, "lipschitz": "clipping", "optimizer": "rmsprop", "learning_rate": 2e-4, "critic_turns": 3,
    }, 500),
}
