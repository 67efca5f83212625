"""Read training logs of many formats, and write them as runs that TensorBoard and the report read."""

import math
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import headstart
from headstart.cli.main import main
from headstart.errors import DataError, UsageError
from headstart.report.logged_run import ACCURACY, LOSS, TEST, TRAIN, UNNAMED, VAL, LoggedQuantity
from headstart.results.event_runs import read_event_runs
from headstart.results.tag_rules import Rate
from headstart.results.training_log import LogRun, read_training_log

TRAIN_LOSS, TRAIN_ACC = LoggedQuantity(LOSS, TRAIN), LoggedQuantity(ACCURACY, TRAIN)
VAL_LOSS, VAL_ACC = LoggedQuantity(LOSS, VAL), LoggedQuantity(ACCURACY, VAL)

# Text of a log; expected (train loss, train accuracy, val loss, val accuracy) by epoch; epochs with a saved model.
LOGS: dict[str, tuple[str, dict[int, tuple[float | None, ...]], list[int]]] = {
    "phases": (
        """Epoch 0/24
----------
train Loss: 0.6213 Acc: 0.6475
val Loss: 0.2514 Acc: 0.9085

Epoch 1/24
----------
train Loss: 0.42 Acc: 0.82
val Loss: 0.31 Acc: 0.88
Training complete in 1m 5s
Best val Acc: 0.9085
""",
        {0: (0.6213, 0.6475, 0.2514, 0.9085), 1: (0.42, 0.82, 0.31, 0.88)},
        [],
    ),
    "counter": (
        """[001/030] 30.20 sec(s) Train Acc: 0.252 Loss: 0.0177 | Val Acc: 0.279 loss: 0.0155
saving model with acc 0.279
[002/030] 29.01 sec(s) Train Acc: 0.352 Loss: 0.0137 | Val Acc: 0.379 loss: 0.0135
saving model with acc 0.379
[003/030] 29.01 sec(s) Train Acc: 0.372 Loss: 0.0127 | Val Acc: 0.369 loss: 0.0136
""",
        {1: (0.0177, 0.252, 0.0155, 0.279), 2: (0.0137, 0.352, 0.0135, 0.379), 3: (0.0127, 0.372, 0.0136, 0.369)},
        [1, 2],
    ),
    "keras": (
        "Epoch 1/2\n\r 1/47 [>...] - ETA: 3s - loss: 2.0 - accuracy: 0.1"
        "\r47/47 [====] - 3s 60ms/step - loss: 1.2 - accuracy: 0.45 - val_loss: 1.1 - val_accuracy: 0.5\n"
        "Epoch 2/2\n"
        "47/47 [====] - 3s 60ms/step - loss: 1.0 - accuracy: 0.55 - val_loss: 1.05 - val_accuracy: 0.6\n",
        {1: (1.2, 0.45, 1.1, 0.5), 2: (1.0, 0.55, 1.05, 0.6)},
        [],
    ),
    "logging, in per cent": (
        """2024-10-20 14:44:12,123 INFO Epoch [1/30], Train Loss: 1.2, Train Acc: 45.12%, Val Loss: 1.0, Val Acc: 0.9%
2024-10-20 14:44:13,001 INFO Model saved to best_2.pth
2024-10-20 14:45:12,123 INFO Epoch [2/30], Train Loss: 1.1, Train Acc: 50.0%, Val Loss: 0.9, Val Acc: 60.1%
2024-10-20 14:45:13,001 INFO Model not saved
""",
        {1: (1.2, 0.4512, 1.0, 0.009), 2: (1.1, 0.5, 0.9, 0.601)},
        [1],
    ),
    "CSV": (
        "epoch, train_loss, train_acc, val_loss, val_acc, best_val_acc\n1,1.2,40,1.1,50,50\n2,1.0,50,nan,60,60\n",
        {1: (1.2, 0.4, 1.1, 0.5), 2: (1.0, 0.5, None, 0.6)},
        [],
    ),
    "JSON lines": (
        '{"epoch": 1, "train_loss": 1.0, "val_acc": 61, "note": "x"}\n{"epoch": 2, "train_loss": 0.8, "val_acc": 65}\n',
        {1: (1.0, None, None, 0.61), 2: (0.8, None, None, 0.65)},
        [],
    ),
    "Chinese": (
        "第1轮 训练损失: 1.20 训练准确率: 45.1% 验证损失: 1.1 验证准确率: 50.2%\n模型已保存\n"
        "第2轮 训练损失:1.00 训练准确率:55.1% 验证损失:1.0 验证准确率:60.2%\n",
        {1: (1.2, 0.451, 1.1, 0.502), 2: (1.0, 0.551, 1.0, 0.602)},
        [1],
    ),
    "improvements": (
        """Epoch 1: train loss 0.5, train accuracy 0.8, validation loss 0.4, validation accuracy 0.85
Validation loss improved from inf to 0.4. Saving model ...
Epoch 2: train loss 0.4, train accuracy 0.82, validation loss 0.5, validation accuracy 0.84 (best accuracy 0.85)
Validation accuracy did not improve from 0.85
""",
        {1: (0.5, 0.8, 0.4, 0.85), 2: (0.4, 0.82, 0.5, 0.84)},
        [1],
    ),
    "pairs": (
        "epoch=1 train_loss=1.0 val_loss=.9 train_acc=3e-1 val_acc=0.4 model saved\n"
        "\x1b[32mepoch=2\x1b[0m train_loss=0.9 val_loss=nan train_acc=0.35 val_acc=0.45 best_acc=0.5\n",
        {1: (1.0, 0.3, 0.9, 0.4), 2: (0.9, 0.35, None, 0.45)},
        [1],
    ),
    "sets of images in Chinese": (
        "周期 1 训练集：损失 1.9，准确率 0.31\n周期 1 验证集：损失 1.7，准确率 0.35\n",
        {1: (1.9, 0.31, 1.7, 0.35)},
        [],
    ),
    "averages of batches": (
        "Epoch: [0][ 10/500]\tTime 0.5 ( 0.7)\tLoss 6.9 (6.8)\tAcc@1 31.0 (30.0)\tAcc@5 60.0 (58.0)\n"
        "Test: [ 0/20]\tTime 0.1 (0.1)\tLoss 6.0 (6.1)\tAcc@1 34.0 (33.0)\n *   Acc@1 35.000 Acc@5 62.000\n",
        {0: (6.8, 0.3, None, None)},
        [],
    ),
    "thousands": ("Epoch 1 val acc: 4,120/10,000 (41.2%) train loss 1.5\n", {1: (1.5, None, None, 0.412)}, []),
    "values before the epoch": (
        "{'loss': 1.9, 'learning_rate': 5e-05, 'epoch': 1.0}\n{'eval_loss': 1.7, 'eval_accuracy': 0.35, 'epoch': 1.0}\n"
        "{'loss': 1.4, 'learning_rate': 4e-05, 'epoch': 2.0}\n{'eval_loss': 1.3, 'eval_accuracy': 0.5, 'epoch': 2.0}\n",
        {1: (1.9, None, 1.7, 0.35), 2: (1.4, None, 1.3, 0.5)},
        [],
    ),
    "printed table": (
        "Learner\nepoch  train_loss  valid_loss  val_acc  time\n0      1.9         1.7         0.35     00:12\n"
        "1      1.4         1.3         0.5      00:12\n",
        {0: (1.9, None, 1.7, 0.35), 1: (1.4, None, 1.3, 0.5)},
        [],
    ),
    "Markdown table": (
        "| epoch | train loss | val acc |\n|---|---|---|\n| 1 | 1.9 | 35 % |\n| 2 | 1.4 | 50 % |\n",
        {1: (1.9, None, None, 0.35), 2: (1.4, None, None, 0.5)},
        [],
    ),
    "JSON array": (
        '[{"epoch": 1, "train_loss": 1.9}, {"epoch": 2, "train_loss": 1.4, "val": {"acc": 0.5}}]',
        {1: (1.9, None, None, None), 2: (1.4, None, None, 0.5)},
        [],
    ),
    "semicolons": (
        "epoch;train_loss;val_acc\n1;1.9;40\n2;1.4;50\n",
        {1: (1.9, None, None, 0.4), 2: (1.4, None, None, 0.5)},
        [],
    ),
    "settings and a loaded model": (
        "epochs: 30, lr: 0.1\nEpoch 1 train loss 1.9 val acc 0.4\nEpoch 2 train loss 1.4 val acc 0.5\n"
        "Epoch 00002: reducing learning rate of group 0 to 1.0000e-02.\nLoaded best model from epoch 1\n",
        {1: (1.9, None, None, 0.4), 2: (1.4, None, None, 0.5)},
        [],
    ),
    "parts of the loss": (
        "Epoch 1 train loss_cls: 0.5 loss_box: 0.3 loss: 0.8 val acc 0.4\n",
        {1: (0.8, None, None, 0.4)},
        [],
    ),
    "a summary of an earlier epoch": (
        "Epoch 1 val acc 0.5\nEpoch 2 val acc 0.8\nEpoch 3 val acc 0.7\nHighest val acc 0.8 in epoch 2\n"
        "Done. Val accuracy 0.8 (epoch 2), loss 0.1\n",
        {1: (None, None, None, 0.5), 2: (None, None, None, 0.8), 3: (None, None, None, 0.7)},
        [],
    ),
    "epochs repeated after a crash": (
        "Epoch 1 val acc 0.5\nEpoch 2 val acc 0.6\nEpoch 3 val acc 0.7\nEpoch 2 val acc 0.65\nEpoch 3 val acc 0.75\n",
        {1: (None, None, None, 0.5), 2: (None, None, None, 0.65), 3: (None, None, None, 0.75)},
        [],
    ),
    "changes in brackets": ("Epoch 2 val loss 0.4 acc 0.7 (+0.1)\n", {2: (None, None, 0.4, 0.7)}, []),
    "accuracies of classes": (
        "Epoch 1 train loss 0.5 val acc 0.81\n  cat accuracy: 0.9\n  dog accuracy: 0.7\n",
        {1: (0.5, None, None, 0.81)},
        [],
    ),
    "different units": ("Epoch 1 train acc 0.9 val acc 81.0\n", {1: (None, 0.9, None, 0.81)}, []),
    "early stopping": (
        "Epoch 1 train_loss: 1.5 valid_loss: 1.25\nValidation loss decreased (inf --> 1.25).  Saving model ...\n"
        "Epoch 2 train_loss: 1.2 valid_loss: 1.3\nEarlyStopping counter: 1 out of 7\n",
        {1: (1.5, None, 1.25, None), 2: (1.2, None, 1.3, None)},
        [1],
    ),
    "low accuracies in per cent": (
        "Epoch 1 train acc 0.8 val acc 1.0\nEpoch 2 train acc 1.1 val acc 1.4\n",
        {1: (None, 0.008, None, 0.01), 2: (None, 0.011, None, 0.014)},
        [],
    ),
    "printed dicts": (
        "{'epoch': 1, 'train_loss': 0.5, 'val_acc': 0.8}\n{'epoch': 2, 'train_loss': 0.4, 'val_acc': 0.85}\n",
        {1: (0.5, None, None, 0.8), 2: (0.4, None, None, 0.85)},
        [],
    ),
}


def read(tmp_path: Path, text: str) -> list[LogRun]:
    path = tmp_path / "train.log"
    path.write_text(text, encoding="utf-8")
    return read_training_log(path)


@pytest.mark.parametrize("name", LOGS)
def test_formats(name: str, tmp_path: Path) -> None:
    text, expected, saved = LOGS[name]
    (run,) = read(tmp_path, text)
    epochs = sorted({epoch for values in run.values.values() for epoch in values})
    found = {
        epoch: tuple(
            None if math.isnan(value := run.values.get(quantity, {}).get(epoch, math.nan)) else round(value, 6)
            for quantity in (TRAIN_LOSS, TRAIN_ACC, VAL_LOSS, VAL_ACC)
        )
        for epoch in epochs
    }
    assert found == expected
    assert run.saved == saved


def test_lines_per_batch_and_a_test_set(tmp_path: Path) -> None:
    """The last line of an epoch counts; correct images of all are a share."""
    (run,) = read(
        tmp_path,
        "Train Epoch: 1 [0/60000 (0%)]\tLoss: 2.3\nTrain Epoch: 1 [640/60000 (1%)]\tLoss: 1.1\n\n"
        "Test set: Average loss: 0.0523, Accuracy: 9834/10000 (98%)\n",
    )
    assert run.values == {
        TRAIN_LOSS: {1: 1.1},
        LoggedQuantity(LOSS, TEST): {1: 0.0523},
        LoggedQuantity(ACCURACY, TEST): {1: 0.9834},
    }


def test_number_of_images_before_the_accuracy(tmp_path: Path) -> None:
    (run,) = read(tmp_path, "Epoch 1 train loss 1.9\nAccuracy of the network on the 10000 test images: 55 %\n")
    assert run.values == {TRAIN_LOSS: {1: 1.9}, LoggedQuantity(ACCURACY, TEST): {1: 0.55}}


def test_split_that_only_other_measures_name(tmp_path: Path) -> None:
    """The accuracy is not that of train because the loss has one."""
    (run,) = read(tmp_path, "epoch,train/loss,val/loss,metrics/accuracy_top1\n1,1.9,1.8,0.4\n")
    assert run.values[LoggedQuantity(ACCURACY, UNNAMED)] == {1: 0.4}


def test_rates_between_trainings(tmp_path: Path) -> None:
    first, second = read(
        tmp_path, "lr = 0.1\nepoch 1 val acc 0.4\nlr: 0.05\nepoch 2 val acc 0.5\nlr = 0.2\nepoch 1 val acc 0.3\n"
    )
    assert first.values[Rate("")] == {1: 0.05}
    assert second.values[Rate("")] == {1: 0.2}


def test_learning_rates(tmp_path: Path) -> None:
    (run,) = read(tmp_path, "epoch 1 lr 1e-3 val acc 0.4\nepoch 2 lr: 1.0000e-04 val acc 0.5\n")
    assert run.values[Rate("")] == {1: 1e-3, 2: 1e-4}


def test_trainings_after_each_other(tmp_path: Path) -> None:
    first, second = read(tmp_path, "epoch 1 val acc 0.4\nepoch 2 val acc 0.5\nepoch 1 val acc 0.6, model saved\n")
    assert (first.values, second.values) == ({VAL_ACC: {1: 0.4, 2: 0.5}}, {VAL_ACC: {1: 0.6}})
    assert (first.saved, second.saved) == ([], [1])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030"])
def test_encodings(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_bytes("第1轮 验证准确率: 50.2%\r\n".encode(encoding))
    assert read_training_log(path)[0].values == {VAL_ACC: {1: 0.502}}


def test_test_accuracy_after_the_last_epoch(tmp_path: Path) -> None:
    (run,) = read(tmp_path, "Epoch 1 val acc 0.5\nEpoch 2 val acc 0.8\nFinal test accuracy: 0.77 (model of epoch 1)\n")
    assert run.values == {VAL_ACC: {1: 0.5, 2: 0.8}, LoggedQuantity(ACCURACY, TEST): {2: 0.77}}


@pytest.mark.parametrize(
    "text",
    [
        "x" * 200_000,
        "epoch," + "x" * 200_000 + "\n1,2\n",
        "[" * 100_000,
        '{"epoch": 1, "loss": ' + "9" * 400 + "}",
        '{"epoch": 1e30, "loss": 1}',
        '{"epoch": -1, "loss": 1}',
    ],
    ids=["long line", "long header", "nested", "long number", "large epoch", "negative epoch"],
)
def test_unusual_texts_are_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(DataError):
        read(tmp_path, text)


@pytest.mark.parametrize("name", ["a/b", "..", "/tmp"])
def test_names_that_are_no_folder_names_are_refused(name: str, tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("epoch 1 val acc 0.4\n", encoding="utf-8")
    with pytest.raises(UsageError):
        headstart.import_log(log, tmp_path / "runs", name=name)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("content", [b"", b"nothing of interest\n", b"\x00\x01\x02", b"val acc 0.5\n", b"Epoch 1\n"])
def test_files_without_a_training(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(content)
    with pytest.raises(DataError):
        read_training_log(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(DataError):
            read_training_log(path)


@given(text=st.text(st.sampled_from("epoch 12./[]:=%,|valtrinoscum\n\r{}\"'eE+-"), max_size=300))
def test_any_text_is_read_or_refused(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "any.log"
    path.write_text(text, encoding="utf-8")
    try:
        runs = read_training_log(path)
    except DataError:
        return
    assert all(run.values for run in runs)


SHARES = st.floats(0.001, 0.999).map(lambda value: round(value, 4))


@given(values=st.lists(st.tuples(SHARES, SHARES, SHARES, SHARES), min_size=1, max_size=8))
def test_written_values_are_read(
    values: list[tuple[float, float, float, float]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Values that a script prints come back, whatever they are."""
    path = tmp_path_factory.getbasetemp() / "written.log"
    lines = [
        f"Epoch {epoch}/{len(values)} | train loss {a:.4f} acc {100 * b:.2f}% | val loss {c:.4f} acc {100 * d:.2f}%"
        for epoch, (a, b, c, d) in enumerate(values, 1)
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    (run,) = read_training_log(path)
    for index, quantity in enumerate((TRAIN_LOSS, TRAIN_ACC, VAL_LOSS, VAL_ACC)):
        assert list(run.values[quantity].values()) == pytest.approx([row[index] for row in values], abs=1e-4)


def test_import_beside_other_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """TensorBoard's reader and the report find the values that the log has."""
    log, runs = tmp_path / "night.log", tmp_path / "runs"
    log.write_text(LOGS["counter"][0], encoding="utf-8")
    os.utime(log, (1_729_435_452, 1_729_435_452))
    main(["import-log", str(log), "--runs", str(runs)])
    folder = Path(capsys.readouterr().out.strip())
    assert re.fullmatch(r"Oct\d\d_\d\d-\d\d-\d\d_night", folder.name)
    assert (folder / "log.txt").read_bytes() == log.read_bytes()
    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    assert [(event.step, round(event.value, 4)) for event in accumulator.Scalars("accuracy/val")] == [
        (1, 0.279),
        (2, 0.379),
        (3, 0.369),
    ]
    (run,) = read_event_runs(runs)
    assert run.best(VAL_ACC) == (2.0, pytest.approx(0.379))
    assert run.saved == [1, 2]
    with pytest.raises(UsageError):
        headstart.import_log(log, runs)
    assert [folder.name[-5:] for folder in headstart.import_log(log, runs, name="other")] == ["other"]
    assert sorted(path.name for path in runs.iterdir() if ".tmp" in path.name) == []


def test_import_of_two_trainings(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text(
        "epoch 1 val acc 0.4\nepoch 1 val acc 0.6\nepoch 0 val acc 0.1\nepoch 1 val acc 0.2\n", encoding="utf-8"
    )
    folders = headstart.import_log(log, tmp_path / "runs")
    assert [folder.name[-2:] for folder in folders] == ["-1", "-2"]
