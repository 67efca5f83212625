"""Words by which tags of event files and names in logs are recognized; plugins can add some.

Words are in lower case. Tags are divided into words at every other character than a letter, a digit or `@`, and before
a capital letter. Among the tags that fit the same quantity, that with the fewest further words is read.
"""

from __future__ import annotations

from headstart.report.logged_run import ACCURACY, LOSS, TEST, TRAIN, VAL

# Several words: all of them, one after the other.
MEASURES: dict[str, str] = {
    "loss": LOSS,
    "losses": LOSS,
    "nll": LOSS,
    "criterion": LOSS,
    "cross entropy": LOSS,
    "crossentropy": LOSS,
    "损失": LOSS,
    "accuracy": ACCURACY,
    "acc": ACCURACY,
    "acc1": ACCURACY,
    "acc@1": ACCURACY,
    "prec@1": ACCURACY,
    "top1": ACCURACY,
    "top 1": ACCURACY,
    "top@1": ACCURACY,
    "准确率": ACCURACY,
    "精度": ACCURACY,
}
SPLITS: dict[str, str] = {
    "train": TRAIN,
    "training": TRAIN,
    "trn": TRAIN,
    "训练": TRAIN,
    "val": VAL,
    "valid": VAL,
    "validation": VAL,
    "validate": VAL,
    "dev": VAL,
    "eval": VAL,
    "evaluation": VAL,
    "验证": VAL,
    "test": TEST,
    "testing": TEST,
    "测试": TEST,
}
RATES = {"lr", "learning rate", "learningrate", "学习率"}
GRADIENTS = {"grad", "grads", "gradient", "gradients", "梯度"}
WEIGHTS = {"weight", "weights", "param", "params", "parameter", "parameters", "hist", "histogram", "histograms", "权重"}
OTHER_MEASURES = {"acc5", "acc@5", "prec@5", "top5", "top 5", "top@5", "best"}  # tags with these words are not read
# Words without a meaning of their own, beside the name of a measure.
FILLERS = {
    "avg", "average", "mean", "running", "total", "overall", "final", "epoch", "batch", "phase", "rate", "score", "is",
    "was", "of", "the", "this", "for", "on", "network", "model", "set", "data", "dataset", "image", "images", "samples",
    "集", "平均",
}  # fmt: skip
OPEN_WORDS = {"on", "the", "over", "for", "all"}  # a number after them is a number of images
WORD_COST = {
    "epoch": 0.25,
    "step": 2.0,
    "batch": 2.0,
    "iter": 2.0,
    "iteration": 2.0,
}  # further words of tags; others: 1
