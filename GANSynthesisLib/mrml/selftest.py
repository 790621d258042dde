"""What the module's self-test checks, in Slicer and in Testing/SlicerHost: installed models on a volume node."""

from GANSynthesisLib import presentation
from GANSynthesisLib.mrml.inputs import volume_from_node
from GANSynthesisLib.mrml.phantom import add_head


def check_models(logic, say) -> None:
    """Apply every installed model that takes one volume to an oblique, anisotropic one, on the CPU.

    logic: the module's. say: called with what is being done. Raises `AssertionError` where a synthetic volume is not
    on its input's grid, a result lacks its provenance, a segmentation has no segments, or the input was changed.
    """
    head = add_head()
    before = volume_from_node(head)
    for task, apply in (("synthesize", logic.synthesize), ("segment", logic.segment)):
        for model in logic.models(task):
            if len(presentation.input_ports(model.card, task)) != 1:
                continue
            say(f"Applying {model.card.title}")
            made = apply(head, model, device="cpu")
            name = model.card.name
            assert made.GetAttribute("GANSynthesis.ModelHash") == model.sha256, f"{name}: no provenance"
            if task == "segment":
                assert made.GetSegmentation().GetNumberOfSegments() > 0, f"{name}: no segments"
            else:
                assert volume_from_node(made).grid.same_as(before.grid), f"{name}: not on the input's grid"
    assert (volume_from_node(head).voxels == before.voxels).all(), "the input was changed"
