"""The augmentations that mix the images of a batch, by the field of the recipe that has their alpha.

A recipe has at most one of them. Nothing here needs torch: factories are import paths of a `data.mixing.Mixer`.
"""

MIXERS = {
    "mixup": "headstart.data.mixing:mixup",
    "cutmix": "headstart.data.mixing:cutmix",
}
