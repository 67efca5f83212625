"""The papers and programs that a document can cite, one row each, in alphabetical order."""

from __future__ import annotations

from collections.abc import Sequence

from headstart.figures.documents.model import Block, Source, cited_keys

# In alphabetical order of the authors, the order of the list.
SOURCES = [
    Source(
        "alpaydin1998",
        "Alpaydin, E., and Kaynak, C. (1998). Optical recognition of handwritten digits. UCI Machine Learning "
        "Repository.",
        "https://doi.org/10.24432/C50P49",
    ),
    Source(
        "bouthillier2021",
        "Bouthillier, X., Delaunay, P., Bronzi, M., et al. (2021). Accounting for variance in machine learning "
        "benchmarks. Proceedings of Machine Learning and Systems 3, 747–769.",
        "https://arxiv.org/abs/2103.03098",
    ),
    Source(
        "chen2023",
        "Chen, X., Liang, C., Huang, D., et al. (2023). Symbolic discovery of optimization algorithms. Advances in "
        "Neural Information Processing Systems 36.",
        "https://arxiv.org/abs/2302.06675",
    ),
    Source(
        "dunn1961",
        "Dunn, O. J. (1961). Multiple comparisons among means. Journal of the American Statistical Association "
        "56(293), 52–64.",
        "https://doi.org/10.1080/01621459.1961.10482090",
    ),
    Source(
        "glorot2010",
        "Glorot, X., and Bengio, Y. (2010). Understanding the difficulty of training deep feedforward neural "
        "networks. Proceedings of the 13th International Conference on Artificial Intelligence and Statistics, PMLR 9, "
        "249–256.",
        "https://proceedings.mlr.press/v9/glorot10a.html",
    ),
    Source(
        "goyal2017",
        "Goyal, P., Dollár, P., Girshick, R., et al. (2017). Accurate, large minibatch SGD: Training ImageNet in 1 "
        "hour. arXiv:1706.02677.",
        "https://arxiv.org/abs/1706.02677",
    ),
    Source(
        "he2015",
        "He, K., Zhang, X., Ren, S., and Sun, J. (2015). Delving deep into rectifiers: Surpassing human-level "
        "performance on ImageNet classification. Proceedings of the IEEE International Conference on Computer Vision, "
        "1026–1034.",
        "https://doi.org/10.1109/ICCV.2015.123",
    ),
    Source(
        "he2016",
        "He, K., Zhang, X., Ren, S., and Sun, J. (2016). Deep residual learning for image recognition. Proceedings of "
        "the IEEE Conference on Computer Vision and Pattern Recognition, 770–778.",
        "https://doi.org/10.1109/CVPR.2016.90",
    ),
    Source(
        "hunter2007",
        "Hunter, J. D. (2007). Matplotlib: A 2D graphics environment. Computing in Science & Engineering 9(3), 90–95.",
        "https://doi.org/10.1109/MCSE.2007.55",
    ),
    Source(
        "ioffe2015",
        "Ioffe, S., and Szegedy, C. (2015). Batch normalization: Accelerating deep network training by reducing "
        "internal covariate shift. Proceedings of the 32nd International Conference on Machine Learning, PMLR 37, "
        "448–456.",
        "https://proceedings.mlr.press/v37/ioffe15.html",
    ),
    Source(
        "jamieson2016",
        "Jamieson, K., and Talwalkar, A. (2016). Non-stochastic best arm identification and hyperparameter "
        "optimization. Proceedings of the 19th International Conference on Artificial Intelligence and Statistics, "
        "PMLR 51, 240–248.",
        "https://proceedings.mlr.press/v51/jamieson16.html",
    ),
    Source(
        "kingma2015",
        "Kingma, D. P., and Ba, J. (2015). Adam: A method for stochastic optimization. International Conference on "
        "Learning Representations.",
        "https://arxiv.org/abs/1412.6980",
    ),
    Source(
        "kumar2022",
        "Kumar, A., Raghunathan, A., Jones, R., Ma, T., and Liang, P. (2022). Fine-tuning can distort pretrained "
        "features and underperform out-of-distribution. International Conference on Learning Representations.",
        "https://arxiv.org/abs/2202.10054",
    ),
    Source(
        "loshchilov2017",
        "Loshchilov, I., and Hutter, F. (2017). SGDR: Stochastic gradient descent with warm restarts. International "
        "Conference on Learning Representations.",
        "https://arxiv.org/abs/1608.03983",
    ),
    Source(
        "loshchilov2019",
        "Loshchilov, I., and Hutter, F. (2019). Decoupled weight decay regularization. International Conference on "
        "Learning Representations.",
        "https://arxiv.org/abs/1711.05101",
    ),
    Source(
        "obrien1979",
        "O’Brien, P. C., and Fleming, T. R. (1979). A multiple testing procedure for clinical trials. Biometrics "
        "35(3), 549–556.",
        "https://doi.org/10.2307/2530245",
    ),
    Source(
        "paszke2019",
        "Paszke, A., Gross, S., Massa, F., et al. (2019). PyTorch: An imperative style, high-performance deep learning "
        "library. Advances in Neural Information Processing Systems 32, 8024–8035.",
        "https://arxiv.org/abs/1912.01703",
    ),
    Source(
        "pedregosa2011",
        "Pedregosa, F., Varoquaux, G., Gramfort, A., et al. (2011). Scikit-learn: Machine learning in Python. Journal "
        "of Machine Learning Research 12, 2825–2830.",
        "https://jmlr.org/papers/v12/pedregosa11a.html",
    ),
    Source(
        "polyak1964",
        "Polyak, B. T. (1964). Some methods of speeding up the convergence of iteration methods. USSR Computational "
        "Mathematics and Mathematical Physics 4(5), 1–17.",
        "https://doi.org/10.1016/0041-5553(64)90137-5",
    ),
    Source(
        "raghu2019",
        "Raghu, M., Zhang, C., Kleinberg, J., and Bengio, S. (2019). Transfusion: Understanding transfer learning for "
        "medical imaging. Advances in Neural Information Processing Systems 32.",
        "https://arxiv.org/abs/1902.07208",
    ),
    Source(
        "robbins1951",
        "Robbins, H., and Monro, S. (1951). A stochastic approximation method. The Annals of Mathematical Statistics "
        "22(3), 400–407.",
        "https://doi.org/10.1214/aoms/1177729586",
    ),
    Source(
        "russakovsky2015",
        "Russakovsky, O., Deng, J., Su, H., et al. (2015). ImageNet large scale visual recognition challenge. "
        "International Journal of Computer Vision 115(3), 211–252.",
        "https://doi.org/10.1007/s11263-015-0816-y",
    ),
    Source(
        "satterthwaite1946",
        "Satterthwaite, F. E. (1946). An approximate distribution of estimates of variance components. Biometrics "
        "Bulletin 2(6), 110–114.",
        "https://doi.org/10.2307/3002019",
    ),
    Source(
        "saxe2014",
        "Saxe, A. M., McClelland, J. L., and Ganguli, S. (2014). Exact solutions to the nonlinear dynamics of learning "
        "in deep linear neural networks. International Conference on Learning Representations.",
        "https://arxiv.org/abs/1312.6120",
    ),
    Source(
        "searle1992",
        "Searle, S. R., Casella, G., and McCulloch, C. E. (1992). Variance components. Wiley.",
        "https://doi.org/10.1002/9780470316856",
    ),
    Source(
        "smith2019",
        "Smith, L. N., and Topin, N. (2019). Super-convergence: Very fast training of neural networks using large "
        "learning rates. Artificial Intelligence and Machine Learning for Multi-Domain Operations Applications, "
        "Proceedings of SPIE 11006.",
        "https://doi.org/10.1117/12.2520589",
    ),
    Source(
        "student1908",
        "Student (1908). The probable error of a mean. Biometrika 6(1), 1–25.",
        "https://doi.org/10.1093/biomet/6.1.1",
    ),
    Source(
        "szegedy2015",
        "Szegedy, C., Liu, W., Jia, Y., et al. (2015). Going deeper with convolutions. Proceedings of the IEEE "
        "Conference on Computer Vision and Pattern Recognition, 1–9.",
        "https://doi.org/10.1109/CVPR.2015.7298594",
    ),
    Source(
        "szegedy2016",
        "Szegedy, C., Vanhoucke, V., Ioffe, S., Shlens, J., and Wojna, Z. (2016). Rethinking the Inception "
        "architecture for computer vision. Proceedings of the IEEE Conference on Computer Vision and Pattern "
        "Recognition, 2818–2826.",
        "https://doi.org/10.1109/CVPR.2016.308",
    ),
    Source(
        "tieleman2012",
        "Tieleman, T., and Hinton, G. (2012). Lecture 6.5: RMSProp: Divide the gradient by a running average of its "
        "recent magnitude. COURSERA: Neural Networks for Machine Learning.",
        "https://www.cs.toronto.edu/~tijmen/csc321/slides/lecture_slides_lec6.pdf",
    ),
    Source(
        "torchvision2016",
        "TorchVision maintainers and contributors (2016). TorchVision: PyTorch’s computer vision library.",
        "https://github.com/pytorch/vision",
    ),
    Source(
        "wightman2019",
        "Wightman, R. (2019). PyTorch Image Models.",
        "https://doi.org/10.5281/zenodo.4414861",
    ),
    Source(
        "wilson1927",
        "Wilson, E. B. (1927). Probable inference, the law of succession, and statistical inference. Journal of the "
        "American Statistical Association 22(158), 209–212.",
        "https://doi.org/10.1080/01621459.1927.10502953",
    ),
    Source(
        "yun2019",
        "Yun, S., Han, D., Oh, S. J., Chun, S., Choe, J., and Yoo, Y. (2019). CutMix: Regularization strategy to train "
        "strong classifiers with localizable features. Proceedings of the IEEE/CVF International Conference on "
        "Computer Vision, 6022–6031.",
        "https://doi.org/10.1109/ICCV.2019.00612",
    ),
    Source(
        "zhang2018",
        "Zhang, H., Cisse, M., Dauphin, Y. N., and Lopez-Paz, D. (2018). mixup: Beyond empirical risk minimization. "
        "International Conference on Learning Representations.",
        "https://arxiv.org/abs/1710.09412",
    ),
]


def cited_sources(blocks: Sequence[Block]) -> list[Source]:
    """Return the sources that the blocks of a document cite, in alphabetical order."""
    keys = cited_keys(blocks)
    return [source for source in SOURCES if source.key in keys]
