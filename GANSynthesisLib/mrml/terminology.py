"""What known label names mean: SNOMED CT codes and the colors that Slicer's own terminologies recommend for them."""

from dataclasses import dataclass

GENERAL_ANATOMY = "Segmentation category and type - 3D Slicer General Anatomy list"
DICOM_MASTER = "Segmentation category and type - DICOM master list"

_STRUCTURE = ("123037004", "Anatomical Structure")
_TISSUE = ("85756007", "Tissue")
_ALTERED = ("49755003", "Morphologically Altered Structure")


@dataclass(frozen=True)
class Term:
    """SNOMED CT category and type (code, meaning), color (red, green, blue; 0-255), and the list that has them."""

    category: tuple[str, str]
    type: tuple[str, str]
    color: tuple[int, int, int]
    context: str = GENERAL_ANATOMY

    @property
    def entry(self) -> str:
        """The term as `vtkSegment::SetTerminology` takes it."""
        category, kind = ("^".join(("SCT", *code)) for code in (self.category, self.type))
        return f"{self.context}~{category}~{kind}~^^~Anatomic codes - DICOM master list~^^~^^"


_TERMS = {
    ("brain",): Term(_STRUCTURE, ("12738006", "Brain"), (250, 250, 225)),
    ("gray matter", "grey matter", "gm"): Term(_STRUCTURE, ("389081007", "Gray Matter"), (200, 200, 235)),
    ("white matter", "wm"): Term(_STRUCTURE, ("389080008", "White Matter"), (250, 250, 210)),
    ("csf", "cerebrospinal fluid"): Term(
        _STRUCTURE, ("65216001", "Cerebrospinal Fluid"), (85, 188, 255), context=DICOM_MASTER
    ),
    ("cortex", "cerebral cortex", "cortical gray matter", "cortical grey matter"): Term(
        _STRUCTURE, ("40146001", "Cerebral Grey Matter"), (128, 174, 128)
    ),
    ("ventricles", "ventricle", "brain ventricles"): Term(_STRUCTURE, ("35764002", "Brain ventricle"), (88, 106, 215)),
    ("cerebellum",): Term(_STRUCTURE, ("113305005", "Cerebellum"), (194, 195, 164), context=DICOM_MASTER),
    ("brain stem", "brainstem"): Term(_STRUCTURE, ("119238007", "Brain stem"), (145, 92, 109), context=DICOM_MASTER),
    ("hippocampus",): Term(_STRUCTURE, ("5366008", "Hippocampus"), (216, 160, 120), context=DICOM_MASTER),
    ("lesion", "lesions", "ms lesion", "ms lesions", "white matter lesion", "white matter lesions"): Term(
        _ALTERED, ("52988006", "Lesion"), (230, 60, 60), context=DICOM_MASTER
    ),
    ("tumor", "tumour", "neoplasm"): Term(_ALTERED, ("108369006", "Neoplasm"), (144, 238, 144), context=DICOM_MASTER),
    ("edema", "oedema"): Term(_ALTERED, ("79654002", "Edema"), (140, 224, 228)),
    ("necrosis",): Term(_ALTERED, ("6574001", "Necrosis"), (216, 191, 216)),
    ("prostate", "prostate gland"): Term(_STRUCTURE, ("41216001", "Prostate"), (230, 158, 140)),
    ("urethra",): Term(_STRUCTURE, ("13648007", "Urethra"), (124, 186, 223)),
    ("bladder", "urinary bladder"): Term(_STRUCTURE, ("89837001", "Bladder"), (222, 154, 132)),
    ("rectum",): Term(_STRUCTURE, ("34402009", "Rectum"), (205, 179, 108), context=DICOM_MASTER),
    ("liver",): Term(_STRUCTURE, ("10200004", "Liver"), (221, 130, 101)),
    ("spleen",): Term(_STRUCTURE, ("78961009", "Spleen"), (157, 108, 162)),
    ("heart",): Term(_STRUCTURE, ("80891009", "Heart"), (206, 110, 84)),
    ("lung", "lungs"): Term(_STRUCTURE, ("39607008", "Lung"), (197, 165, 145)),
    ("kidney", "kidneys"): Term(_STRUCTURE, ("64033007", "Kidney"), (185, 102, 83)),
    ("bone", "bones"): Term(_TISSUE, ("272673000", "Bone"), (241, 214, 145)),
    ("skin",): Term(_TISSUE, ("39937001", "Skin"), (177, 122, 101)),
    ("fat", "body fat"): Term(_TISSUE, ("248300009", "Body fat"), (230, 220, 70)),
    ("tissue", "soft tissue"): Term(_TISSUE, ("85756007", "Tissue"), (128, 174, 128)),
}
_TERM_OF_NAME = {name: term for names, term in _TERMS.items() for name in names}

# Told apart by eye and, mostly, by readers with a color vision deficiency (Okabe and Ito 2008, without black).
_PALETTE = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167))


def term_of(name: str) -> Term | None:
    """The term of a label name such as "white matter" or "White_Matter", or None for names not known here."""
    return _TERM_OF_NAME.get(" ".join(name.replace("_", " ").replace("-", " ").lower().split()))


def color_of(name: str, label: int) -> tuple[float, float, float]:
    """Color (red, green, blue; 0-1) of a label: its term's, else one that depends on the label value alone."""
    term = term_of(name)
    color = term.color if term else _PALETTE[label % len(_PALETTE)]
    return tuple(channel / 255 for channel in color)
