"""Training cases: which files belong together, and whom they are of."""

from pathlib import Path

import pytest

from GANSynthesisLib.training.cases import DataError, find_cases, split_subjects, subject_of


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_files_of_the_same_stem_are_one_case_whatever_their_format(tmp_path):
    touch(tmp_path, "source/b.nii.gz", "source/a.nrrd", "target/a.mha", "target/b.nii", "target/c.nii", "source/a.txt")
    cases = find_cases(tmp_path, ("source", "target"))
    assert [case.name for case in cases] == ["a", "b"]
    assert cases[0].files == {"source": tmp_path / "source/a.nrrd", "target": tmp_path / "target/a.mha"}


def test_a_role_may_be_a_folder_called_role_images(tmp_path):
    touch(tmp_path, "fixed_images/a.nii", "moving/a.nii", "fixed_labels/a.nii")
    (case,) = find_cases(tmp_path, ("fixed", "moving"), ("fixed_labels", "moving_labels"))
    assert sorted(case.files) == ["fixed", "fixed_labels", "moving"]


def test_unpaired_files_are_cases_of_their_own(tmp_path):
    touch(tmp_path, "source/a.nii", "source/b.nii", "target/x.nii", "labels/a.nii")
    cases = find_cases(tmp_path, ("source", "target"), ("labels",), paired=False)
    assert {case.name: sorted(case.files) for case in cases} == {
        "a": ["labels", "source"], "b": ["source"], "x": ["target"],
    }


def test_images_for_generation_lie_in_the_folder_itself_or_in_one_folder_per_class(tmp_path):
    touch(tmp_path, "one/1.png", "two/1.png", "3.nii.gz")
    assert [case.name for case in find_cases(tmp_path, ("image",))] == ["3", "one/1", "two/1"]


def test_a_manifest_names_files_subjects_and_names(tmp_path):
    touch(tmp_path, "p1/T1.nii", "p1/T2.nii", "p2/T1.nii", "p2/T2.nii")
    manifest = tmp_path / "cases.csv"
    manifest.write_text("name,subject,source,target\nfirst,s1,p1/T1.nii,p1/T2.nii\nsub-7_b,,p2/T1.nii,p2/T2.nii\n")
    first, second = find_cases(manifest, ("source", "target"))
    assert (first.name, first.subject) == ("first", "s1")
    assert (second.name, second.subject) == ("sub-7_b", "sub-7")
    assert first.files["source"] == (tmp_path / "p1/T1.nii").resolve()


@pytest.mark.parametrize(
    ("files", "roles", "sentence"),
    [
        ((), ("source", "target"), "no files for the role 'source': add a subfolder"),
        (("source/a.nii",), ("source", "target"), "no files for the role 'target'"),
        (("source/a.nii", "target/b.nii"), ("source", "target"), "need the same name in every subfolder"),
    ],
)
def test_folders_that_hold_no_case_are_explained(tmp_path, files, roles, sentence):
    touch(tmp_path, *files)
    with pytest.raises(DataError, match=sentence):
        find_cases(tmp_path, roles)


def test_manifests_that_cannot_be_used_are_explained(tmp_path):
    with pytest.raises(DataError, match="no folder or manifest"):
        find_cases(tmp_path / "nowhere", ("source",))
    wrong = tmp_path / "cases.csv"
    wrong.write_text("source\nnowhere.nii\n")
    with pytest.raises(DataError, match=r"line 2 names nowhere.nii, which does not exist"):
        find_cases(wrong, ("source",))
    wrong.write_bytes(bytes(range(256)))
    with pytest.raises(DataError, match="not a CSV manifest"):
        find_cases(wrong, ("source",))


def test_no_subject_is_on_both_sides_of_a_split(tmp_path):
    names = [f"source/sub-{subject:02d}_ses-{session}.nii" for subject in range(10) for session in range(3)]
    cases = find_cases(touch(tmp_path, *names), ("source",))
    for seed in range(5):
        training, held_out = split_subjects(cases, 0.3, seed)
        assert len(training) == 21
        assert not {case.subject for case in training} & {case.subject for case in held_out}
    assert split_subjects(cases, 0.3, 1) == split_subjects(cases, 0.3, 1)
    assert split_subjects(cases[:3], 0.8, 0) == (cases[:3], [])
    assert subject_of("sub-01_ses-2_T1w") == "sub-01"
    assert subject_of("case7") == "case7"
