import pytest

from nucseg.config import Preprocessing, Training
from nucseg.errors import InputError
from nucseg.training import run_folder


def rows(*losses):
    return [{"epoch": index + 1, "val_loss": loss} for index, loss in enumerate(losses)]


def test_settings_come_back_as_they_were_written(tmp_path):
    settings = Training(epochs=3, preprocessing=Preprocessing(size=(64, 32)))
    run_folder.write_settings(tmp_path / "config.toml", settings)
    assert run_folder.read_settings(tmp_path / "config.toml") == settings


def test_no_percentiles_come_back_as_none(tmp_path):
    settings = Training(preprocessing=Preprocessing(percentiles=None))
    run_folder.write_settings(tmp_path / "config.toml", settings)
    assert run_folder.read_settings(tmp_path / "config.toml") == settings


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("epochs = ", "is no TOML file"),
        ("epoch = 3", "Wrong setting epoch in .*: Extra inputs"),
        ("epochs = 0", "Wrong setting epochs in .*: Input should be greater"),
        ("[preprocessing]\nsize = [100, 100]", "Wrong setting preprocessing.*multiples of 32"),
    ],
)
def test_wrong_settings_are_named(tmp_path, content, message):
    (tmp_path / "config.toml").write_text(content)
    with pytest.raises(InputError, match=message):
        run_folder.read_settings(tmp_path / "config.toml")


def test_missing_settings_are_named(tmp_path):
    with pytest.raises(InputError, match=r"Cannot read the settings .*nothing\.toml"):
        run_folder.read_settings(tmp_path / "nothing.toml")


def test_history_is_cut_to_the_epochs_of_the_checkpoint(tmp_path):
    run_folder.write_history(tmp_path / "history.csv", rows(3, 2, 1))
    assert run_folder.read_history(tmp_path / "history.csv", epochs=2) == rows(3, 2)
    assert (tmp_path / "history.csv").read_text().splitlines()[1] == "1,3"
    assert run_folder.read_history(tmp_path / "none.csv", epochs=2) == []


def test_the_best_epoch_is_the_first_of_the_lowest_loss():
    assert run_folder.best_epoch(rows(3, 1, 2, 1)) == 1


def test_a_run_is_not_replaced_unasked(tmp_path):
    run_folder.write_settings(tmp_path / "config.toml", Training())
    with pytest.raises(InputError, match="already holds a training run"):
        run_folder.begin(tmp_path, resume=False, overwrite=False)
    run_folder.begin(tmp_path, resume=True, overwrite=False)
    run_folder.begin(tmp_path, resume=False, overwrite=True)


@pytest.mark.parametrize("overwrite", [False, True])
def test_other_files_are_not_mixed_with_a_run_nor_overwritten(tmp_path, overwrite):
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "thesis.pdf").touch()
    with pytest.raises(InputError, match="holds files that are no training run"):
        run_folder.begin(tmp_path, resume=False, overwrite=overwrite)
    assert (tmp_path / "plots" / "thesis.pdf").exists()


def test_a_start_that_comes_to_nothing_may_be_repeated(tmp_path):
    for _ in range(2):
        run_folder.begin(tmp_path / "run", resume=False, overwrite=False)
    assert list((tmp_path / "run").iterdir()) == []


def test_nothing_to_resume_is_said(tmp_path):
    with pytest.raises(InputError, match="no run to resume"):
        run_folder.begin(tmp_path / "run", resume=True, overwrite=False)
    assert not (tmp_path / "run").exists()


def test_a_folder_that_cannot_be_made_is_said_at_once(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="Cannot write"):
        run_folder.begin(tmp_path / "file" / "run", resume=False, overwrite=False)


def test_a_loss_that_is_no_number_is_never_the_best():
    nan = float("nan")
    assert run_folder.best_epoch(rows(nan, 3, nan, 2)) == 3
    assert run_folder.best_epoch(rows(nan, nan)) == 0


def test_clearing_removes_all_of_a_run_and_nothing_else(tmp_path):
    run_folder.write_settings(tmp_path / "config.toml", Training())
    run_folder.write_history(tmp_path / "history.csv", rows(1))
    for folder in ("checkpoint", "seg_log/train", "plots", "predictions"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "file").touch()
    for name in ("model.json", "model.onnx", "nucleus_segmentation_model.keras", "split.csv"):
        (tmp_path / name).touch()
    (tmp_path / "thesis.docx").touch()
    run_folder.clear(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.docx"]


def test_a_history_begun_without_seconds_goes_on_with_them(tmp_path):
    history = [*rows(3), {**rows(3, 2)[1], "seconds": 1.5}]
    run_folder.write_history(tmp_path / "history.csv", history)
    assert run_folder.read_history(tmp_path / "history.csv", epochs=2) == history
